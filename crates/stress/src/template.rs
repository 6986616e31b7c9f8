//! Templates: what is different in each request.

use std::collections::{BTreeMap, HashMap};
use std::env::VarError;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use fastrand::Rng;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior};

/// The variable by which functions find the draw they belong to. No template can read or hide it: it is no identifier.
const DRAW: &str = "the draw";
/// Why a lock is never poisoned.
const HELD: &str = "nobody panics who holds it";

/// Whether `text` has to be rendered.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// What templates draw from, read once and kept: a file that changes under way would make two runs differ.
#[derive(Default)]
pub(crate) struct Stock {
    /// What files are relative to.
    folder: PathBuf,
    /// The lines of each file.
    files: RwLock<HashMap<String, Arc<[Value]>>>,
    /// Environment variables, all of them secrets.
    variables: RwLock<BTreeMap<String, String>>,
}

impl Stock {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, ..Self::default() }
    }

    /// The environment variables that have been read.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.variables.read().expect(HELD).values().cloned().collect()
    }

    fn lines(&self, file: &str) -> Result<Arc<[Value]>, Error> {
        if let Some(lines) = self.files.read().expect(HELD).get(file) {
            return Ok(lines.clone());
        }
        let path = self.folder.join(file);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            failed(format!(
                "pick({file:?}) cannot read {}: {error}; it should be a text file with a choice on each line, and a \
                 relative path begins where the mix is",
                path.display()
            ))
        })?;
        let lines: Arc<[Value]> = text.lines().filter(|line| !line.trim().is_empty()).map(Value::from).collect();
        if lines.is_empty() {
            let path = path.display();
            return Err(failed(format!("pick({file:?}) finds no line in {path}; write a choice on each line")));
        }
        Ok(self.files.write().expect(HELD).entry(file.to_owned()).or_insert(lines).clone())
    }

    fn variable(&self, name: &str) -> Result<String, Error> {
        if let Some(value) = self.variables.read().expect(HELD).get(name) {
            return Ok(value.clone());
        }
        let value = std::env::var(name).map_err(|error| {
            // Not the error's own words: they may hold the value.
            let what = match error {
                VarError::NotPresent => "is not set",
                VarError::NotUnicode(_) => "is not UTF-8",
            };
            failed(format!("env({name:?}): {name} {what}; set it where the load is started"))
        })?;
        Ok(self.variables.write().expect(HELD).entry(name.to_owned()).or_insert(value).clone())
    }
}

/// What is drawn for one request: the same for the same seed and number.
#[derive(Debug)]
pub(crate) struct Draw {
    /// The request's number.
    nth: u64,
    /// Shared by the request's templates, so that none repeats what another has drawn.
    rng: Mutex<Rng>,
}

impl Draw {
    pub(crate) fn new(nth: u64, rng: Rng) -> Arc<Self> {
        Arc::new(Self { nth, rng: Mutex::new(rng) })
    }

    fn random<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.rng.lock().expect(HELD))
    }
}

impl Object for Draw {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some(DRAW)).then(|| Value::from_dyn_object(self.clone()))
    }
}

/// The templates of one action, each called what it is of the request: `body`.
pub(crate) struct Templates(Environment<'static>);

impl Templates {
    pub(crate) fn new(stock: &Arc<Stock>) -> Self {
        let mut environment = Environment::new();
        // Errors then name what is undefined.
        environment.set_debug(true);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // A body without templates keeps its last line end too.
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.expect("the usual delimiters do not clash"));
        environment.add_function("seq", |state: &State| draw(state).nth);
        environment.add_function("uuid", |state: &State| {
            let bits = draw(state).random(|rng| rng.u128(..));
            uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
        });
        environment.add_function("random_int", |state: &State, least: i64, most: i64| match least <= most {
            true => Ok(draw(state).random(|rng| rng.i64(least..=most))),
            false => Err(failed(format!("random_int({least}, {most}): the smaller number comes first"))),
        });
        let files = stock.clone();
        environment.add_function("pick", move |state: &State, file: &str| {
            let lines = files.lines(file)?;
            Ok::<_, Error>(lines[draw(state).random(|rng| rng.usize(..lines.len()))].clone())
        });
        let variables = stock.clone();
        environment.add_function("env", move |name: &str| variables.variable(name));
        Self(environment)
    }

    /// Compiles a template.
    pub(crate) fn add(&mut self, part: &str, source: &str) -> Result<(), String> {
        self.0.add_template_owned(part.to_owned(), source.to_owned()).map_err(|error| reason(&error, part))
    }

    /// What a template gives for one request.
    pub(crate) fn render(&self, part: &str, draw: &Arc<Draw>) -> Result<String, String> {
        let rendered = self.0.get_template(part).and_then(|it| it.render(Value::from_dyn_object(draw.clone())));
        rendered.map_err(|error| reason(&error, part))
    }
}

fn draw(state: &State) -> Arc<Draw> {
    let draw = state.lookup(DRAW).and_then(|draw| draw.downcast_object());
    draw.expect("every rendering is given its draw")
}

fn failed(reason: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// Why a template fails, and where.
fn reason(error: &Error, part: &str) -> String {
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    match error.line() {
        Some(line) => format!("{what} (line {line} of its {part})"),
        None => format!("{what} (in its {part})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(folder: &str, template: &str, nth: u64) -> Result<String, String> {
        let mut templates = Templates::new(&Arc::new(Stock::new(folder.into())));
        templates.add("body", template)?;
        templates.render("body", &Draw::new(nth, Rng::with_seed(nth)))
    }

    #[test]
    fn seq_is_the_number_of_the_request() {
        assert_eq!(rendered("", "{{ seq() }}", 37).unwrap(), "37");
        assert_eq!(
            rendered("", "{% for seq_of in [1, 2] %}{{ seq() + seq_of }} {% endfor %}\n", 37).unwrap(),
            "38 39 \n"
        );
    }

    #[test]
    fn uuids_are_version_4_and_differ() {
        let text = rendered("", "{{ uuid() }} {{ uuid() }}", 1).unwrap();
        let uuids: Vec<uuid::Uuid> = text.split(' ').map(|uuid| uuid.parse().unwrap()).collect();
        assert!(uuids.iter().all(|uuid| uuid.get_version_num() == 4));
        assert_ne!(uuids[0], uuids[1]);
        assert_ne!(text, rendered("", "{{ uuid() }} {{ uuid() }}", 2).unwrap());
    }

    #[test]
    fn random_int_gives_both_ends_and_nothing_beyond() {
        let numbers: Vec<i64> =
            (0..200).map(|n| rendered("", "{{ random_int(-1, 1) }}", n).unwrap().parse().unwrap()).collect();
        assert!((-1..=1).all(|number| numbers.contains(&number)));
        assert!(numbers.iter().all(|number| (-1..=1).contains(number)));
        assert_eq!(rendered("", "{{ random_int(5, 5) }}", 1).unwrap(), "5");
        let error = rendered("", "\n{{ random_int(2, 1) }}", 1).unwrap_err();
        assert_eq!(error, "random_int(2, 1): the smaller number comes first (line 2 of its body)");
    }

    #[test]
    fn pick_gives_every_line_but_the_blank_ones() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("names.txt"), "Ann\r\n\n  \nBob\n").unwrap();
        let folder = folder.path().to_str().unwrap();
        let mut names: Vec<_> = (0..50).map(|n| rendered(folder, r#"{{ pick("names.txt") }}"#, n).unwrap()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names, ["Ann", "Bob"]);
    }

    #[test]
    fn pick_names_the_file_that_is_missing_or_empty() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("empty.txt"), "\n \n").unwrap();
        let folder = folder.path().to_str().unwrap();
        let missing = rendered(folder, r#"{{ pick("none.txt") }}"#, 1).unwrap_err();
        assert!(missing.starts_with(r#"pick("none.txt") cannot read "#) && missing.contains(folder), "{missing}");
        let empty = rendered(folder, r#"{{ pick("empty.txt") }}"#, 1).unwrap_err();
        assert!(empty.starts_with(r#"pick("empty.txt") finds no line in "#), "{empty}");
    }

    #[test]
    fn env_gives_a_variable_and_names_the_one_that_is_not_set() {
        assert_eq!(rendered("", r#"{{ env("CARGO_PKG_NAME") }}"#, 1).unwrap(), "tare-stress");
        let error = rendered("", r#"{{ env("TARE_NO_SUCH") }}"#, 1).unwrap_err();
        assert!(error.starts_with(r#"env("TARE_NO_SUCH"): TARE_NO_SUCH is not set; "#), "{error}");
    }

    #[test]
    fn what_is_undefined_is_an_error_even_in_a_condition() {
        for template in ["{{ nothing }}", "{{ nothing.at_all }}", "{% if nothing %}{% endif %}", "{{ nothing() }}"] {
            let error = rendered("", template, 1).unwrap_err();
            assert!(error.contains("nothing") && error.ends_with("(line 1 of its body)"), "{template}: {error}");
        }
        let error = rendered("", "{{ 1 +", 1).unwrap_err();
        assert!(error.starts_with("syntax error") && error.ends_with("(line 1 of its body)"), "{error}");
    }

    #[test]
    fn nothing_is_escaped_unless_asked_for() {
        assert_eq!(rendered("", r#"{{ "<a & \"b\">" }}"#, 1).unwrap(), r#"<a & "b">"#);
        assert_eq!(
            rendered("", r#"{{ "a \"b\"" | tojson }} {{ "a b" | urlencode }}"#, 1).unwrap(),
            r#""a \"b\"" a%20b"#
        );
    }
}
