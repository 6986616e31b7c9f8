//! Evidence as people and CI systems read it: a terminal's text, Markdown, JUnit XML and GitHub's annotations.
//!
//! [`sections`] turns evidence into titles, paragraphs and tables; a renderer knows nothing of evidence and only of those.

mod annotations;
mod history;
mod junit;
mod markdown;
mod pull_request;
mod section;
mod terminal;

pub use annotations::annotations;
pub use history::{history, history_markdown};
pub use junit::junit;
pub use markdown::markdown;
pub use pull_request::pull_request;
pub use section::{Section, Table, sections};
pub use terminal::{latencies, terminal, terminal_summary};
