//! The process-wide budget of connections, and who gets the next one.
//!
//! A [`Permit`] lives exactly as long as its connection. Who finds the budget spent waits in one queue for all tenants, first
//! come, first served. Connections that are in use come free one by one, and go to whoever waits when their tenant has had
//! its share:
//!
//! * a tenant keeps a connection that somebody of its own waits for, unless the first in the queue is of a tenant that has
//!   at least two fewer. So shares become even, and a difference of one does not make connections change hands forever;
//! * a tenant that has none gets one even so, once the connection has served its tenant for [`QUANTUM`]. So every tenant is
//!   served, also when there are more of them than connections;
//! * a connection that goes to another request of the same tenant is handed over as it is.
//!
//! The budget may become another while it is in use. As long as there are connections beyond it, those that come back are closed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// How long a tenant may work with a connection that another has need of and none instead.
pub(super) const QUANTUM: Duration = Duration::from_millis(50);

/// What one tenant holds of the budget.
#[derive(Debug, Default)]
pub(super) struct Share {
    held: AtomicUsize,
}

impl Share {
    /// Connections that are open, being opened or being closed.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// The budget. `C` is what a connection is to its pool; tests give it numbers.
pub(super) struct Budget<C> {
    queue: Mutex<Queue<C>>,
    /// Waiters, and connections beyond the budget, for whom none is being closed yet: what a returned connection has to look at.
    wanted: AtomicUsize,
}

struct Queue<C> {
    size: usize,
    /// Permits that somebody holds.
    held: usize,
    /// Connections being closed for a waiter, or because they are beyond the budget.
    closing: usize,
    waiters: VecDeque<Waiter<C>>,
    next: u64,
}

struct Waiter<C> {
    id: u64,
    share: Arc<Share>,
    grant: oneshot::Sender<Grant<C>>,
}

/// What a waiter gets.
pub(super) enum Grant<C> {
    /// Leave to open a connection.
    Permit(Permit<C>),
    /// One of the same tenant, as it is.
    Connection(C),
}

/// What is to become of a connection that was returned while somebody waits.
pub(super) enum Placement<C> {
    /// To be handed over to this waiter of the same tenant.
    Give(oneshot::Sender<Grant<C>>),
    /// To be closed; its permit then goes to who waits.
    Close,
    /// Its tenant keeps it.
    Keep,
}

/// Leave to have one connection.
pub(super) struct Permit<C> {
    budget: Arc<Budget<C>>,
    share: Arc<Share>,
}

impl<C> Drop for Permit<C> {
    fn drop(&mut self) {
        self.share.held.fetch_sub(1, Ordering::Relaxed);
        self.budget.release();
    }
}

impl<C> Budget<C> {
    pub(super) fn new(size: usize) -> Arc<Self> {
        let queue = Queue { size, held: 0, closing: 0, waiters: VecDeque::new(), next: 0 };
        Arc::new(Self { queue: Mutex::new(queue), wanted: AtomicUsize::new(0) })
    }

    /// Connections at most.
    pub(super) fn size(&self) -> usize {
        self.lock().size
    }

    /// Permits that somebody holds; more than the size for a while after that became less.
    pub(super) fn held(&self) -> usize {
        self.lock().held
    }

    /// From now on connections at most. Returns how many of those that nobody uses should be closed, and [told](Self::closing): what is
    /// beyond that, and for who waits, for what was being closed for them may not be theirs any more.
    pub(super) fn resize(self: &Arc<Self>, size: usize) -> usize {
        let mut queue = self.lock();
        queue.size = size;
        let mut granted = Vec::new();
        while queue.held < size
            && let Some(first) = queue.waiters.pop_front()
        {
            queue.held += 1;
            granted.push(first);
        }
        self.count(&queue);
        let wanted = queue.wanted();
        drop(queue);
        for Waiter { share, grant, .. } in granted {
            let _ = grant.send(Grant::Permit(self.permit(&share)));
        }
        wanted
    }

    /// Whether a returned connection should be [placed](Self::place). Costs one atomic read.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// A permit at once, or none.
    pub(super) fn try_take(self: &Arc<Self>, share: &Arc<Share>) -> Option<Permit<C>> {
        let mut queue = self.lock();
        match queue.held < queue.size && queue.waiters.is_empty() {
            true => {
                queue.held += 1;
                Some(self.permit(share))
            }
            false => None,
        }
    }

    /// A permit, or a connection of the same tenant's. `make_room` is called once when there is neither at once; it may close
    /// an idle connection of another tenant, and [tell](Self::closing).
    pub(super) async fn take(self: &Arc<Self>, share: &Arc<Share>, make_room: impl FnOnce()) -> Grant<C> {
        if let Some(permit) = self.try_take(share) {
            return Grant::Permit(permit);
        }
        let (grant, granted) = oneshot::channel();
        let _waiting = self.enqueue(share, grant);
        make_room();
        match granted.await {
            Ok(grant) => grant,
            Err(_) => unreachable!("a waiter stays in the queue until it is granted something or leaves"),
        }
    }

    /// A connection is about to be closed so that a waiter gets its permit, or because it is beyond the budget.
    pub(super) fn closing(&self) {
        let mut queue = self.lock();
        queue.closing += 1;
        self.count(&queue);
    }

    /// Decides about a connection that was returned. `others` is how many of its own tenant wait in the pool, `floor` what
    /// the tenant keeps against those that have a connection, `age` how long ago it was opened.
    pub(super) fn place(&self, share: &Arc<Share>, others: usize, floor: usize, age: Duration) -> Placement<C> {
        let mut queue = self.lock();
        // Who waits is then served by what is opened anew: a share may be of connections that are being closed.
        if queue.beyond() > 0 && queue.wanted() > 0 {
            queue.closing += 1;
            self.count(&queue);
            return Placement::Close;
        }
        let Some(first) = queue.waiters.front() else { return Placement::Keep };
        let (held, theirs) = (share.held(), first.share.held());
        let own = queue.waiters.iter().position(|waiter| Arc::ptr_eq(&waiter.share, share));
        let needed_here = own.is_some() || others > 0;
        let gives_way = match theirs {
            0 => !needed_here || held > 1 || age >= QUANTUM,
            _ if needed_here => held > theirs + 1,
            _ => held > floor,
        };
        let placement = match own.filter(|own| *own == 0 || !gives_way).and_then(|own| queue.waiters.remove(own)) {
            Some(waiter) => Placement::Give(waiter.grant),
            None if gives_way => {
                queue.closing += 1;
                Placement::Close
            }
            None => Placement::Keep,
        };
        self.count(&queue);
        placement
    }

    /// A permit came back: the first in the queue gets it. One who has just given up drops it, and so releases it again.
    fn release(self: &Arc<Self>) {
        let mut queue = self.lock();
        queue.closing = queue.closing.saturating_sub(1);
        queue.held -= 1;
        let first = if queue.held < queue.size { queue.waiters.pop_front() } else { None };
        queue.held += usize::from(first.is_some());
        self.count(&queue);
        drop(queue);
        if let Some(first) = first {
            let _ = first.grant.send(Grant::Permit(self.permit(&first.share)));
        }
    }

    fn permit(self: &Arc<Self>, share: &Arc<Share>) -> Permit<C> {
        share.held.fetch_add(1, Ordering::Relaxed);
        Permit { budget: self.clone(), share: share.clone() }
    }

    fn enqueue(&self, share: &Arc<Share>, grant: oneshot::Sender<Grant<C>>) -> Waiting<'_, C> {
        let mut queue = self.lock();
        let id = queue.next;
        queue.next += 1;
        queue.waiters.push_back(Waiter { id, share: share.clone(), grant });
        self.count(&queue);
        Waiting { budget: self, id }
    }

    fn count(&self, queue: &Queue<C>) {
        self.wanted.store(queue.wanted(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Queue<C>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Queue<C> {
    /// Permits that are held beyond the size.
    fn beyond(&self) -> usize {
        self.held.saturating_sub(self.size)
    }

    /// Connections that have to be closed yet.
    fn wanted(&self) -> usize {
        (self.waiters.len() + self.beyond()).saturating_sub(self.closing)
    }
}

/// A place in the queue; who goes away leaves it.
struct Waiting<'a, C> {
    budget: &'a Budget<C>,
    id: u64,
}

impl<C> Drop for Waiting<'_, C> {
    fn drop(&mut self) {
        let mut queue = self.budget.lock();
        queue.waiters.retain(|waiter| waiter.id != self.id);
        self.budget.count(&queue);
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Take<'a> = Pin<Box<dyn Future<Output = Grant<u32>> + 'a>>;

    fn shares<const N: usize>() -> [Arc<Share>; N] {
        std::array::from_fn(|_| Arc::default())
    }

    /// A request in the queue.
    fn queue<'a>(budget: &'a Arc<Budget<u32>>, share: &'a Arc<Share>) -> Take<'a> {
        let mut take: Take = Box::pin(budget.take(share, || ()));
        assert!(poll(&mut take).is_none(), "there is nothing to be had");
        take
    }

    fn poll(take: &mut Take) -> Option<Grant<u32>> {
        match pin!(take).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(grant) => Some(grant),
            Poll::Pending => None,
        }
    }

    fn place(budget: &Budget<u32>, share: &Arc<Share>, others: usize, age: Duration) -> &'static str {
        match budget.place(share, others, 1, age) {
            Placement::Give(grant) => {
                let _ = grant.send(Grant::Connection(7));
                "give"
            }
            Placement::Close => "close",
            Placement::Keep => "keep",
        }
    }

    #[test]
    fn permits_go_to_those_who_wait_in_their_order() {
        let budget = Budget::new(1);
        let [a, b, c] = shares();
        let permit = budget.try_take(&a).unwrap();
        let (mut first, mut second) = (queue(&budget, &b), queue(&budget, &c));
        drop(permit);
        assert!(poll(&mut second).is_none());
        let Some(Grant::Permit(permit)) = poll(&mut first) else { panic!("the first is first") };
        assert_eq!((a.held(), b.held(), c.held()), (0, 1, 0));
        drop(permit);
        assert!(matches!(poll(&mut second), Some(Grant::Permit(_))));
        drop(second);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn who_goes_away_leaves_the_queue_and_what_it_was_granted() {
        let budget = Budget::new(1);
        let [a, b, c] = shares();
        let permit = budget.try_take(&a).unwrap();
        let (gone, granted, mut last) = (queue(&budget, &b), queue(&budget, &b), queue(&budget, &c));
        drop(gone);
        drop(permit);
        drop(granted);
        assert!(matches!(poll(&mut last), Some(Grant::Permit(_))));
        assert_eq!((b.held(), budget.held(), budget.is_wanted()), (0, 0, false));
    }

    #[test]
    fn a_newcomer_does_not_overtake_who_waits() {
        let budget = Budget::new(1);
        let [a, b] = shares();
        let permit = budget.try_take(&a).unwrap();
        let mut first = queue(&budget, &b);
        drop(permit);
        assert!(budget.try_take(&a).is_none());
        assert!(poll(&mut first).is_some());
    }

    #[test]
    fn a_returned_connection_is_handed_to_the_same_tenant_as_it_is() {
        let budget = Budget::new(1);
        let [a] = shares();
        let _permit = budget.try_take(&a).unwrap();
        let mut waiting = queue(&budget, &a);
        assert_eq!(place(&budget, &a, 0, Duration::ZERO), "give");
        assert!(matches!(poll(&mut waiting), Some(Grant::Connection(7))));
        assert_eq!(place(&budget, &a, 0, Duration::ZERO), "keep", "nobody waits any more");
    }

    #[test]
    fn an_idle_connection_goes_to_another_tenant_but_for_the_floor() {
        let budget = Budget::new(3);
        let [a, b] = shares();
        let _permits = [&a, &a, &b].map(|share| budget.try_take(share).unwrap());
        let _second = queue(&budget, &b);
        assert_eq!(place(&budget, &a, 0, Duration::ZERO), "close");
        let budget = Budget::new(2);
        let [a, b] = shares();
        let _permits = [&a, &b].map(|share| budget.try_take(share).unwrap());
        let _second = queue(&budget, &b);
        assert_eq!(place(&budget, &a, 0, Duration::ZERO), "keep", "the other has one, and this is the floor");
    }

    #[test]
    fn busy_shares_become_even_and_stay_so() {
        let budget = Budget::new(5);
        let [a, b] = shares();
        let [closed, _a, _b, _c, _d] = [&a, &a, &a, &a, &b].map(|share| budget.try_take(share).unwrap());
        let mut wants = queue(&budget, &b);
        assert_eq!(place(&budget, &a, 9, Duration::ZERO), "close", "4 against 1");
        assert!(!budget.is_wanted(), "one is on its way");
        drop(closed);
        assert!(poll(&mut wants).is_some());
        let budget = Budget::new(5);
        let [a, b] = shares();
        let _permits = [&a, &a, &a, &b, &b].map(|share| budget.try_take(share).unwrap());
        let _wants = queue(&budget, &b);
        assert_eq!(place(&budget, &a, 9, Duration::from_secs(1)), "keep", "3 against 2");
    }

    #[test]
    fn a_tenant_without_any_is_served_after_a_quantum() {
        let budget = Budget::new(1);
        let [a, b] = shares();
        let _permit = budget.try_take(&a).unwrap();
        let _wants = queue(&budget, &b);
        assert_eq!(place(&budget, &a, 9, Duration::ZERO), "keep");
        assert_eq!(place(&budget, &a, 9, QUANTUM), "close");
    }

    #[test]
    fn a_budget_that_became_less_is_kept_by_closing_what_comes_back() {
        let budget = Budget::new(3);
        let [a, b] = shares();
        let [closed, _kept, _other] = [&a, &a, &b].map(|share| budget.try_take(share).unwrap());
        assert_eq!(budget.resize(2), 1);
        let mut waiting = queue(&budget, &b);
        assert_eq!(place(&budget, &a, 9, Duration::ZERO), "close");
        drop(closed);
        assert!(poll(&mut waiting).is_none(), "what was beyond the budget is nobody's");
        assert_eq!((budget.held(), budget.resize(3)), (2, 0));
        assert!(poll(&mut waiting).is_some(), "and what it has more is for who waits");
    }
}
