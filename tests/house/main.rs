//! The house rules.

mod code;
mod tidy;
