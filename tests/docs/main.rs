//! The README and the book, held to their word.
//!
//! A page is followed as its reader follows it: its files are written, its commands typed, its
//! addresses opened in a browser. What a block is for is said by the page itself; `markdown.rs` has
//! the words. A block that nothing here can follow is a failure.

#[path = "../support/mod.rs"]
mod support;

mod book;
mod browser;
mod compiled;
mod flags;
mod follow;
mod markdown;
mod pages;
mod place;
mod proxy;
mod readme;
mod refusals;
mod start;
mod terminal;
