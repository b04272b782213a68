//! From a prompt to token numbers.
