"""Ways to run models; they report facts and have no opinions."""
