//! Statements as they are shown.

/// In one line.
pub(crate) fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A statement with `?` for what it is about: that may be nobody else's business.
pub(crate) fn without_values(sql: &str) -> String {
    let mut text = String::new();
    let mut characters = sql.chars().peekable();
    let mut in_word = false;
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                text.push('?');
                while let Some(character) = characters.next() {
                    // A doubled quote is one within the value.
                    if character == '\'' && characters.next_if_eq(&'\'').is_none() {
                        break;
                    }
                }
            }
            digit if digit.is_ascii_digit() && !in_word => {
                text.push('?');
                while characters.next_if(|next| next.is_ascii_alphanumeric() || *next == '.').is_some() {}
            }
            other => text.push(other),
        }
        in_word = character.is_alphanumeric() || ['_', '$'].contains(&character);
    }
    text
}
