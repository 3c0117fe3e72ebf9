"""Questions asked of the outside: is a server ready, is it asleep, what does the GPU say."""
