//! Evidence as people and CI systems read it: a terminal's text, Markdown, HTML, JUnit XML and GitHub's annotations.
//!
//! [`sections`] turns evidence into titles, paragraphs, tables and pictures; a renderer knows nothing of evidence and only of those.

mod annotations;
mod history;
mod html;
mod improvements;
mod junit;
mod markdown;
mod plan;
mod plot;
mod pull_request;
mod section;
mod side_by_side;
mod terminal;

pub use annotations::annotations;
pub use history::{history, history_markdown};
pub use html::{Link, html, html_of};
pub use improvements::improvements;
pub use junit::junit;
pub use markdown::{markdown, markdown_of};
pub use plan::{plan, plan_chart};
pub use pull_request::pull_request;
pub use section::{Section, Table, sections};
pub use side_by_side::side_by_side;
pub use terminal::{latencies, terminal, terminal_of, terminal_summary};
