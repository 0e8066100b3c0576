//! L4: text as JSON has it (RFC 8259), for the little of it that is written here.

/// The text as a JSON string, quotes included.
pub fn string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            c if c < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::string;

    #[test]
    fn what_json_reserves_is_escaped_and_nothing_else() {
        for (text, json) in [
            ("", r#""""#),
            ("Grüße/'😀'", r#""Grüße/'😀'""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\n\r\t\u{8}\u{0}\u{1f}\u{7f}", "\"\\n\\r\\t\\u0008\\u0000\\u001f\u{7f}\""),
        ] {
            assert_eq!(string(text), json, "{text:?}");
        }
    }
}
