//! Evidence as people read it: a terminal's text and Markdown.
//!
//! [`sections`] turns evidence into titles, paragraphs and tables; a renderer knows nothing of evidence and only of those.

mod markdown;
mod section;
mod terminal;

pub use markdown::markdown;
pub use section::{Section, Table, sections};
pub use terminal::{latencies, terminal, terminal_summary};
