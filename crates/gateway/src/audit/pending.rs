//! Events between their requests and the thread that writes them.
//!
//! A request begins its event and goes on; the thread is woken when half of the requests under way have an event for it, or when one
//! of them needs its own to be on the disk, and takes along whatever has been begun until then. So requests that come at a time share
//! one sync and one waking, and the disk works while their database does.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::store::Group;
use super::{Event, Queued, Row, Trail};
use crate::Error;

/// What requests, the delivery and the writing thread share.
#[derive(Default)]
pub(super) struct Pending {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    appended: Vec<Appended>,
    /// Events that the thread has taken so far. An event has the number of those that began before it.
    taken: u64,
    /// Requests that have begun an event and not ended it.
    under_way: usize,
    /// Groups whose events are all delivered.
    delivered: Vec<u64>,
    /// A request waits for an event that is not taken.
    wanted: bool,
    /// The thread waits for work.
    idle: bool,
    /// No event is taken any more.
    stopped: bool,
    /// Nothing more will come.
    closed: bool,
}

/// An event to be written.
pub(super) struct Appended {
    /// Its group is the one that has it as it began, where it ended otherwise.
    queued: Queued,
    stored: oneshot::Sender<Result<Queued, Error>>,
    delivery: WeakUnboundedSender<Queued>,
}

impl Appended {
    pub(super) fn row(&self) -> &Row {
        &self.queued.event.row
    }

    /// Gives it back to its request as one of `group`, and to the delivery when there is no request any more.
    pub(super) fn stored(mut self, group: Group) {
        if let Some(corrected) = self.queued.group.replace(group) {
            corrected.delivered();
        }
        if let Err(Ok(queued)) = self.stored.send(Ok(self.queued)) {
            deliver(&self.delivery, queued);
        }
    }

    /// It could not be stored.
    pub(super) fn failed(self, error: &fjall::Error) {
        // Who has gone away need not be told.
        let _ = self.stored.send(Err(Error::Store(error.to_string())));
    }
}

/// Passes it on. Once there is no delivery any more it stays in the store, and is delivered after the next start.
fn deliver(delivery: &WeakUnboundedSender<Queued>, queued: Queued) {
    if let Some(delivery) = delivery.upgrade() {
        let _ = delivery.send(queued);
    }
}

/// What is to be written at once.
#[derive(Default)]
pub(super) struct Work {
    pub(super) appended: Vec<Appended>,
    /// Groups to be removed.
    pub(super) delivered: Vec<u64>,
}

impl Pending {
    /// Takes `event` in; `delivery` is where it goes when it has ended.
    pub(super) fn begin(
        self: &Arc<Self>,
        event: Event,
        place: Option<OwnedSemaphorePermit>,
        delivery: WeakUnboundedSender<Queued>,
    ) -> Result<Begun, Error> {
        self.append(Queued { event, _place: place, group: None }, delivery, |state| state.stopped)
    }

    /// Takes in what ended otherwise than it began, until the thread ends.
    fn correct(self: &Arc<Self>, queued: Queued, delivery: WeakUnboundedSender<Queued>) -> Result<Begun, Error> {
        self.append(queued, delivery, |state| state.closed)
    }

    fn append(
        self: &Arc<Self>,
        queued: Queued,
        delivery: WeakUnboundedSender<Queued>,
        is_over: fn(&State) -> bool,
    ) -> Result<Begun, Error> {
        let mut state = self.state();
        if is_over(&state) {
            return Err(Error::Stopping);
        }
        let (store, stored) = oneshot::channel();
        let number = state.taken + state.appended.len() as u64;
        state.appended.push(Appended { queued, stored: store, delivery: delivery.clone() });
        state.under_way += 1;
        if 2 * state.appended.len() >= state.under_way {
            state.wanted = true;
            self.rouse(state);
        }
        Ok(Begun { pending: self.clone(), number, stored, delivery })
    }

    /// All events of a group are delivered.
    pub(super) fn delivered(&self, group: u64) {
        let mut state = self.state();
        state.delivered.push(group);
        self.rouse(state);
    }

    /// No event is taken in after this.
    pub(super) fn stop(&self) {
        self.state().stopped = true;
    }

    /// The thread ends when it has written what there is.
    pub(super) fn close(&self) {
        let mut state = self.state();
        (state.stopped, state.closed) = (true, true);
        self.rouse(state);
    }

    /// The thread is gone: who waits for it is told that the store is closed.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        (state.stopped, state.closed) = (true, true);
        state.appended.clear();
    }

    /// Waits for work, of `most` events at a time. Nothing when all is done and nothing more will come.
    pub(super) fn next(&self, most: usize) -> Option<Work> {
        let mut state = self.state();
        while !state.wanted && !state.closed && state.delivered.is_empty() {
            state.idle = true;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        let mut work = Work { delivered: std::mem::take(&mut state.delivered), ..Work::default() };
        if state.wanted || state.closed {
            let rest = state.appended.len().min(most);
            let rest = state.appended.split_off(rest);
            work.appended = std::mem::replace(&mut state.appended, rest);
            state.taken += work.appended.len() as u64;
            state.wanted = !state.appended.is_empty();
        }
        let ends = state.closed && work.appended.is_empty() && work.delivered.is_empty();
        (!ends).then_some(work)
    }

    /// Has the event of this `number` written now, if it is not on its way.
    fn want(&self, number: u64) {
        let mut state = self.state();
        if state.taken <= number {
            state.wanted = true;
            self.rouse(state);
        }
    }

    fn rouse(&self, mut state: MutexGuard<'_, State>) {
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        if idle {
            self.wake.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event on its way to the disk, whose request goes on meanwhile. Dropped before its end it is recorded as it began: what it
/// tells of may have been done.
#[must_use]
pub(crate) struct Begun {
    pending: Arc<Pending>,
    number: u64,
    stored: oneshot::Receiver<Result<Queued, Error>>,
    delivery: WeakUnboundedSender<Queued>,
}

impl Begun {
    /// Returns when it is on the disk how this ended; where there is no `trail`, it is not recorded.
    ///
    /// # Errors
    /// [`Error::Stopping`] when the store is closed, [`Error::Store`] when it fails.
    pub(crate) async fn end(mut self, trail: Option<Trail>) -> Result<(), Error> {
        let mut queued = self.stored().await?;
        let Some(trail) = trail else {
            queued.delivered();
            return Ok(());
        };
        if queued.event.row.trail != trail {
            // Under the same id: of two that are left by a crash, the later counts.
            queued.event.row.trail = trail;
            queued = self.pending.correct(queued, self.delivery.clone())?.stored().await?;
        }
        deliver(&self.delivery, queued);
        Ok(())
    }

    async fn stored(&mut self) -> Result<Queued, Error> {
        self.pending.want(self.number);
        (&mut self.stored).await.unwrap_or(Err(Error::Stopping))
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.pending.state().under_way -= 1;
        self.pending.want(self.number);
        // From here on the thread finds nobody to give it to, and passes it on itself.
        self.stored.close();
        if let Ok(Ok(queued)) = self.stored.try_recv() {
            deliver(&self.delivery, queued);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use uuid::Uuid;

    use super::*;
    use crate::action::Action;

    struct Bed {
        pending: Arc<Pending>,
        delivery: UnboundedSender<Queued>,
        delivered: UnboundedReceiver<Queued>,
    }

    impl Bed {
        fn new() -> Self {
            let (delivery, delivered) = unbounded_channel();
            Self { pending: Arc::default(), delivery, delivered }
        }

        fn begin(&self, id: u128) -> Result<Begun, Error> {
            let row = Row {
                id: Uuid::from_u128(id),
                tenant: Uuid::nil(),
                yacht: Uuid::nil(),
                user: Uuid::nil(),
                action: Action::ViewPartDetails,
                payload: "{}".into(),
                trail: Trail::Done,
                at: SystemTime::UNIX_EPOCH,
            };
            self.pending.begin(Event { row, database: None }, None, self.delivery.downgrade())
        }

        /// Stores what is to be stored as the thread does, and waits if nothing is: ids of events, and groups removed.
        fn write(&self, key: u64) -> (Vec<u128>, Vec<u64>) {
            let Work { appended, delivered } = self.pending.next(256).unwrap();
            let group = Group::new(key, appended.len(), self.pending.clone());
            let ids: Vec<_> = appended.iter().map(|appended| appended.row().id.as_u128()).collect();
            appended.into_iter().for_each(|appended| appended.stored(group.clone()));
            (ids, delivered)
        }

        fn is_wanted(&self) -> bool {
            self.pending.state().wanted
        }

        fn next_delivered(&mut self) -> Option<(u128, Trail)> {
            self.delivered.try_recv().ok().map(|queued| (queued.event.row.id.as_u128(), queued.event.row.trail))
        }
    }

    fn work(ids: &[u128], delivered: &[u64]) -> (Vec<u128>, Vec<u64>) {
        (ids.to_vec(), delivered.to_vec())
    }

    #[tokio::test]
    async fn half_of_those_under_way_are_written_at_once_and_fewer_when_one_of_them_needs_it() {
        let mut bed = Bed::new();
        let first = bed.begin(1).unwrap();
        assert_eq!(bed.write(1), work(&[1], &[]));
        let second = bed.begin(2).unwrap();
        assert_eq!(bed.write(2), work(&[2], &[]));
        let third = bed.begin(3).unwrap();
        assert!(!bed.is_wanted(), "it is one of three");
        first.end(Some(Trail::Done)).await.unwrap();
        assert!(!bed.is_wanted(), "that one is on the disk");
        let ending = tokio::spawn(third.end(Some(Trail::Done)));
        tokio::task::yield_now().await;
        assert_eq!(bed.write(3), work(&[3], &[]));
        ending.await.unwrap().unwrap();

        let (fourth, fifth) = (bed.begin(4).unwrap(), bed.begin(5).unwrap());
        assert_eq!(bed.write(4), work(&[4, 5], &[]));
        for begun in [second, fifth, fourth] {
            begun.end(Some(Trail::Done)).await.unwrap();
        }
        assert_eq!([1, 3, 2, 5, 4].map(|id| Some((id, Trail::Done))), [(); 5].map(|()| bed.next_delivered()));
    }

    #[tokio::test]
    async fn what_is_not_to_be_recorded_leaves_the_store_and_what_is_dropped_is_recorded_as_it_began() {
        let mut bed = Bed::new();
        let (withdrawn, unseen) = (bed.begin(1).unwrap(), bed.begin(2).unwrap());
        bed.write(1);
        withdrawn.end(None).await.unwrap();
        drop(unseen);
        let queued = bed.delivered.try_recv().unwrap();
        assert_eq!(queued.event.row.id.as_u128(), 2);
        queued.delivered();
        assert_eq!(bed.write(2), work(&[], &[1]));

        drop(bed.begin(3).unwrap());
        assert_eq!(bed.write(3), work(&[3], &[]));
        assert_eq!(bed.next_delivered(), Some((3, Trail::Done)));
        assert_eq!(bed.next_delivered(), None);
    }

    #[tokio::test]
    async fn what_ended_otherwise_is_written_again_before_the_first_is_removed() {
        let mut bed = Bed::new();
        let begun = bed.begin(1).unwrap();
        bed.write(1);
        let ending = tokio::spawn(begun.end(Some(Trail::Refused)));
        tokio::task::yield_now().await;
        assert_eq!(bed.write(2), work(&[1], &[]));
        ending.await.unwrap().unwrap();
        assert_eq!(bed.write(3), work(&[], &[1]));
        assert_eq!(bed.next_delivered(), Some((1, Trail::Refused)));
        assert_eq!(bed.next_delivered(), None);
    }

    #[tokio::test]
    async fn who_is_under_way_keeps_no_delivery_from_its_end_and_is_corrected_until_the_store_is_closed() {
        let Bed { pending, delivery, mut delivered } = Bed::new();
        let bed = Bed { pending, delivery: delivery.clone(), delivered: unbounded_channel().1 };
        let (done, refused) = (bed.begin(1).unwrap(), bed.begin(2).unwrap());
        bed.write(1);
        bed.pending.stop();
        drop(delivery);
        let Bed { pending, delivery, .. } = bed;
        drop(delivery);
        assert!(delivered.recv().await.is_none());
        done.end(Some(Trail::Done)).await.unwrap();
        let ending = tokio::spawn(refused.end(Some(Trail::Refused)));
        tokio::task::yield_now().await;
        let bed = Bed { pending, delivery: unbounded_channel().0, delivered };
        assert_eq!(bed.write(2), work(&[2], &[]));
        ending.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn after_the_end_nothing_is_taken_and_nobody_waits() {
        let bed = Bed::new();
        let (first, second) = (bed.begin(1).unwrap(), bed.begin(2).unwrap());
        bed.pending.close();
        assert_eq!(bed.write(1), work(&[1, 2], &[]));
        assert!(bed.pending.next(256).is_none());
        first.end(Some(Trail::Done)).await.unwrap();
        second.end(Some(Trail::Done)).await.unwrap();

        let bed = Bed::new();
        let (first, second) = (bed.begin(1).unwrap(), bed.begin(2).unwrap());
        bed.pending.abandon();
        for begun in [first, second] {
            assert!(matches!(begun.end(Some(Trail::Done)).await, Err(Error::Stopping)));
        }
        assert!(matches!(bed.begin(3), Err(Error::Stopping)));
    }
}
