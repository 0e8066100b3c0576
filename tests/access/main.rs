//! Who somebody is: the application that is asked, sessions and tokens.

mod application;
mod keys;
mod sessions;
mod tokens;
