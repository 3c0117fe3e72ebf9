"""Parsers of configuration values, one module for each kind of value.

Each function takes what YAML gave (``str``, ``int``, ``Decimal``, ``bool``, ``list``, ``dict``) and raises
``ValueError`` with a message for the operator. A message never repeats the value: it may have come from
the environment, and so be a secret.
"""
