//! Conditions as PostgreSQL writes them in plans, read as far as an index would serve them.

use super::facts::Column;

/// One of several conditions that all hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Predicate {
    /// A column, or an expression of columns.
    pub(crate) left: Left,
    pub(crate) is_equality: bool,
    /// What it is compared with.
    pub(crate) right: String,
    /// As it was written, without the relation's alias and outer parentheses.
    pub(crate) text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Left {
    Column(String),
    /// As it was written: an index on the column alone does not serve it.
    Expression(String),
}

/// The conditions of `filter` that compare something of the relation, whose `columns` are prefixed with `alias`, with what does
/// not depend on it.
pub(crate) fn predicates(filter: &str, alias: &str, columns: &[Column]) -> Vec<Predicate> {
    let text = without_alias(filter, alias);
    conjuncts(&text).into_iter().filter_map(|one| predicate(one, columns)).collect()
}

/// A condition without the alias and outer parentheses, to be compared with others.
pub(crate) fn plain(condition: &str, alias: &str) -> String {
    bare(&without_alias(condition, alias)).to_owned()
}

/// The parts of a conjunction.
pub(crate) fn conjuncts(text: &str) -> Vec<&str> {
    let text = bare(text);
    let mut parts = Vec::new();
    let mut from = 0;
    for at in at_depth_0(text) {
        if text[at..].starts_with(" AND ") {
            parts.push(bare(&text[from..at]));
            from = at + " AND ".len();
        }
    }
    parts.push(bare(&text[from..]));
    parts
}

fn predicate(text: &str, columns: &[Column]) -> Option<Predicate> {
    const OPERATORS: [(&str, bool); 6] =
        [(" = ", true), (" >= ", false), (" <= ", false), (" > ", false), (" < ", false), (" ~~ ", false)];
    let (at, operator, is_equality) = at_depth_0(text).find_map(|at| {
        OPERATORS.iter().find(|(operator, _)| text[at..].starts_with(operator)).map(|(name, equal)| (at, *name, *equal))
    })?;
    let (left, right) = (&text[..at], &text[at + operator.len()..]);
    let mentions = |side: &str| columns.iter().any(|column| has_word(side, &column.name));
    if !mentions(left) || mentions(right) || operator == " ~~ " {
        return None;
    }
    let is = |column: &&Column| {
        // Characters of any kind are compared as text, which their index serves; of anything else text is another value.
        let as_text = left.strip_suffix("::text").filter(|_| column.is_characters());
        bare(as_text.unwrap_or(left)).trim_matches('"') == column.name
    };
    let left = match columns.iter().find(is) {
        Some(column) => Left::Column(column.name.clone()),
        None => Left::Expression(left.to_owned()),
    };
    Some(Predicate { left, is_equality, right: right.to_owned(), text: text.to_owned() })
}

/// Positions that are within no parentheses and no quotes.
fn at_depth_0(text: &str) -> impl Iterator<Item = usize> {
    let (mut depth, mut quoted) = (0, false);
    text.char_indices().filter_map(move |(at, character)| {
        let outside = depth == 0 && !quoted;
        match character {
            '\'' => quoted = !quoted,
            '(' | '[' if !quoted => depth += 1,
            ')' | ']' if !quoted => depth -= 1,
            _ => {}
        }
        outside.then_some(at)
    })
}

/// Without the parentheses around the whole.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else { return text };
    // `(a) = (b)` begins and ends with parentheses that are not one pair.
    let (mut depth, mut quoted) = (0, false);
    for character in inner.chars() {
        match character {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return text;
        }
    }
    bare(inner)
}

/// Whether `word` is among the words of `text`.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    words(text).any(|one| one == word)
}

/// Its words, but for those of literals.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let outside = text.split('\'').step_by(2);
    outside
        .flat_map(|part| part.split(|character: char| !(character.is_alphanumeric() || character == '_')))
        .filter(|word| !word.is_empty())
}

fn without_alias(text: &str, alias: &str) -> String {
    if alias.is_empty() {
        return text.to_owned();
    }
    let prefix = format!("{alias}.");
    let mut rest = text;
    let mut kept = String::new();
    while let Some(at) = rest.find(&prefix) {
        let within_word =
            rest[..at].ends_with(|character: char| character.is_alphanumeric() || character == '_' || character == '.');
        kept.push_str(&rest[..at]);
        if within_word {
            kept.push_str(&prefix);
        }
        rest = &rest[at + prefix.len()..];
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(filter: &str) -> Vec<(Left, bool)> {
        let columns = [("location", "text"), ("quantity", "integer"), ("yacht_id", "uuid"), ("name", "text")];
        let columns = columns.map(|(name, kind)| Column { name: name.into(), kind: kind.into(), width: 4 });
        predicates(filter, "p", &columns).into_iter().map(|one| (one.left, one.is_equality)).collect()
    }

    fn column(name: &str) -> Left {
        Left::Column(name.into())
    }

    #[test]
    fn comparisons_of_columns_are_read_whatever_they_are_wrapped_in() {
        assert_eq!(read("(p.location = 'a AND b'::text)"), [(column("location"), true)]);
        assert_eq!(
            read("(((p.location)::text = 'x (1)'::text) AND (p.quantity > 5) AND (p.yacht_id = app.yacht()))"),
            [(column("location"), true), (column("quantity"), false), (column("yacht_id"), true)]
        );
        assert_eq!(read("(lower(p.name) = 'x'::text)"), [(Left::Expression("lower(name)".into()), true)]);
        let cast = read("((p.yacht_id)::text = current_setting('app.yacht_id'::text, true))");
        assert_eq!(cast, [(Left::Expression("(yacht_id)::text".into()), true)], "a uuid as text is another value");
    }

    #[test]
    fn what_no_index_would_serve_is_left_out() {
        assert_eq!(read("(p.quantity = p.yacht_id)"), []);
        assert_eq!(read("((p.location = 'a'::text) OR (p.location = 'b'::text))"), []);
        assert_eq!(read("(p.name ~~ '%x'::text)"), []);
        assert_eq!(read("(hashed SubPlan 1)"), []);
    }

    #[test]
    fn conditions_are_compared_without_their_alias() {
        assert_eq!(plain("((p.a = 1))", "p"), plain("(a = 1)", ""));
        assert_eq!(conjuncts("((a = 1) AND ((b = 2) AND (c = 3)))"), ["a = 1", "(b = 2) AND (c = 3)"]);
    }
}
