//! Names, addresses and dials.
