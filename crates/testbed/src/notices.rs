//! What a server tells a connection beside its answers.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::error::DbError;
use tokio_postgres::{AsyncMessage, Connection};

/// Messages kept until they are taken: a loop can raise more of them than memory holds.
const KEPT: usize = 20_000;

/// The messages of a connection that are no answers: `NOTICE`, `LOG` and their like, up to `client_min_messages`.
///
/// They come in the order of the answers: when an answer is there, so are the messages before it.
#[derive(Clone, Debug, Default)]
pub struct Notices(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    messages: Vec<DbError>,
    dropped: u64,
}

impl Notices {
    /// The messages since they were last taken, and how many more there were than are kept.
    pub fn take(&self) -> (Vec<DbError>, u64) {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        (kept.messages, kept.dropped)
    }

    fn keep(&self, message: DbError) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.messages.len() < KEPT {
            true => kept.messages.push(message),
            false => kept.dropped += 1,
        }
    }

    /// Serves `connection` until it ends, and keeps its messages.
    pub(crate) async fn collect<S, T>(self, mut connection: Connection<S, T>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        // How it ended is told by whatever was asked of it last.
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message {
                self.keep(notice);
            }
        }
    }
}
