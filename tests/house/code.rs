//! Rust code without its comments and what is in its literals.

use crate::tidy::is_word;

/// The text with comments and what is in literals replaced by blanks; lines stay where they are.
pub fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after_word = code.ends_with(is_word);
        let length = blank_length(rest, after_word);
        let (token, left) = rest.split_at(length.unwrap_or(c.len_utf8()));
        match length {
            Some(_) => code.extend(token.chars().map(|c| if c == '\n' { c } else { ' ' })),
            None => code.push_str(token),
        }
        rest = left;
    }
    code
}

/// The length of the comment or literal that begins here.
fn blank_length(rest: &str, after_word: bool) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment_length(rest));
    }
    // The letters before a raw or byte literal belong to it, unless they end a longer word.
    let prefix =
        if after_word { 0 } else { rest.len() - rest.trim_start_matches(['b', 'r', 'c']).len() };
    let (letters, literal) = rest.split_at(prefix);
    let hashes = literal.len() - literal.trim_start_matches('#').len();
    if letters.contains('r') && literal[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let body = prefix + hashes + 1;
        return Some(rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()));
    }
    match literal.chars().next()? {
        '"' => Some(prefix + quoted_length(literal, '"')?),
        '\'' => Some(prefix + char_length(literal)?),
        _ => None,
    }
}

/// Block comments nest.
fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_length(literal: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in literal.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// A character's literal; `None` for a lifetime.
fn char_length(literal: &str) -> Option<usize> {
    let mut chars = literal.chars().skip(1);
    match (chars.next()?, chars.next()?) {
        ('\\', _) => quoted_length(literal, '\''),
        (c, '\'') => Some(c.len_utf8() + 2),
        _ => None,
    }
}
