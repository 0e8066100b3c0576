//! The house rules.

mod tidy;
