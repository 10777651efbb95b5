//! Batches prepared by threads of the host while the device works.
//!
//! What a batch holds is a function of (seed, epoch, batch): the order of an epoch and the random numbers of an item come
//! from Philox, and batches are handed out in order, so one thread or eight give the same. A [`Position`] is all that a
//! checkpoint needs to go on with the next batch.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::data::draws::{Draws, Purpose};
use crate::error::{Error, Result};

/// Items by index, prepared on the host.
pub trait Dataset: Send + Sync + 'static {
    type Example: Send + 'static;

    /// How many items there are.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Prepares item `index`; `draws` is the random numbers of this item in this epoch.
    fn item(&self, index: usize, draws: Draws) -> Result<Self::Example>;
}

/// A closure as a data set; see [`from_fn`].
pub struct FromFn<F> {
    len: usize,
    item: F,
}

/// A data set of `len` items, each prepared by a closure from its index and its random numbers.
pub fn from_fn<T, F>(len: usize, item: F) -> FromFn<F>
where
    T: Send + 'static,
    F: Fn(usize, Draws) -> Result<T> + Send + Sync + 'static,
{
    FromFn { len, item }
}

impl<T, F> Dataset for FromFn<F>
where
    T: Send + 'static,
    F: Fn(usize, Draws) -> Result<T> + Send + Sync + 'static,
{
    type Example = T;

    fn len(&self) -> usize {
        self.len
    }

    fn item(&self, index: usize, draws: Draws) -> Result<T> {
        (self.item)(index, draws)
    }
}

/// How batches are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOptions {
    pub batch_size: usize,
    /// A new order per epoch; otherwise items come as they are listed.
    pub shuffle: bool,
    pub seed: u64,
    /// The loader ends after this many epochs, counted from epoch 0 wherever it begins.
    pub epochs: u32,
    /// Threads of its own; with 0, `next` prepares each batch itself.
    pub threads: usize,
    /// Batches prepared ahead of the one asked for, at most; these are held in memory.
    pub look_ahead: usize,
}

impl Default for LoaderOptions {
    /// Batches of 16, shuffled by seed 0, one epoch, one thread, two batches ahead.
    fn default() -> Self {
        LoaderOptions {
            batch_size: 16,
            shuffle: true,
            seed: 0,
            epochs: 1,
            threads: 1,
            look_ahead: 2,
        }
    }
}

/// Where in the batches somebody is: `batch` of `epoch` comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    pub epoch: u32,
    pub batch: u32,
}

/// Examples of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<E> {
    /// Which batch this is; the loader's position is behind it.
    pub position: Position,
    /// Index of each example in the data set.
    pub indices: Vec<usize>,
    pub examples: Vec<E>,
}

/// An iterator over batches, epoch after epoch; the last, smaller batch of an epoch is kept.
///
/// A batch that cannot be prepared comes out as its error in its turn, and the batches behind it follow. Dropping the
/// loader ends its threads, each after the item it is at.
pub struct Loader<D: Dataset> {
    plan: Arc<Plan<D>>,
    shared: Arc<Shared<D::Example>>,
    threads: Vec<JoinHandle<()>>,
    /// Serial number of the batch handed out next, counted from epoch 0.
    next: u64,
}

/// What every thread knows; changes never.
struct Plan<D> {
    dataset: Arc<D>,
    /// The items of the data set that take part, in this order.
    items: Vec<usize>,
    options: LoaderOptions,
    per_epoch: u64,
    end: u64,
}

type Prepared<E> = std::thread::Result<Result<Batch<E>>>;

struct Shared<E> {
    state: Mutex<State<E>>,
    /// A batch is there.
    prepared: Condvar,
    /// A batch may be begun, or the end has come.
    wanted: Condvar,
}

struct State<E> {
    ready: BTreeMap<u64, Prepared<E>>,
    /// Serial number of the batch that is begun next.
    begin: u64,
    /// Serial number of the batch that is handed out next.
    taken: u64,
    stop: bool,
}

impl<D: Dataset> Loader<D> {
    /// Starts preparing the batches of `items` (indices into the data set) from `position` on.
    ///
    /// Errors: [`Error::Attribute`] for a batch size of 0, no item, an index outside of the data set, or a position behind
    /// the last batch of its epoch; [`Error::Limit`] for more than 2³² − 1 items.
    pub fn new(
        dataset: Arc<D>,
        items: Vec<usize>,
        options: LoaderOptions,
        position: Position,
    ) -> Result<Loader<D>> {
        let wrong = |message: String| Error::attribute("loader", message);
        if options.batch_size == 0 {
            return Err(wrong("batch_size is 0".into()));
        }
        if items.is_empty() {
            return Err(wrong("no item".into()));
        }
        let n = dataset.len();
        if u32::try_from(n).is_err() || u32::try_from(items.len()).is_err() {
            return Err(Error::Limit {
                what: "items of a data set",
                requested: n.max(items.len()) as u64,
                limit: u64::from(u32::MAX),
            });
        }
        if let Some(i) = items.iter().find(|i| **i >= n) {
            return Err(wrong(format!("item {i} of a data set of {n}")));
        }
        let per_epoch = items.len().div_ceil(options.batch_size) as u64;
        if u64::from(position.batch) >= per_epoch && position.batch != 0 {
            return Err(wrong(format!(
                "position at batch {} of an epoch of {per_epoch}",
                position.batch
            )));
        }
        let start = u64::from(position.epoch) * per_epoch + u64::from(position.batch);
        let end = u64::from(options.epochs) * per_epoch;
        let n_threads = options.threads;
        let plan = Arc::new(Plan {
            dataset,
            items,
            options,
            per_epoch,
            end,
        });
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                ready: BTreeMap::new(),
                begin: start,
                taken: start,
                stop: false,
            }),
            prepared: Condvar::new(),
            wanted: Condvar::new(),
        });
        let mut loader = Loader {
            plan,
            shared,
            threads: Vec::with_capacity(n_threads),
            next: start,
        };
        for i in 0..n_threads {
            let (plan, shared) = (loader.plan.clone(), loader.shared.clone());
            let thread = std::thread::Builder::new()
                .name(format!("affekt-loader-{i}"))
                .spawn(move || work(&plan, &shared));
            match thread {
                Ok(thread) => loader.threads.push(thread),
                // One is enough; without any, `next` does the work.
                Err(error) => log::warn!("loader: thread {i} cannot start: {error}"),
            }
        }
        Ok(loader)
    }

    /// The batch that comes next: what a checkpoint keeps. Behind the last batch it is the epoch that would follow.
    pub fn position(&self) -> Position {
        self.plan.position(self.next)
    }

    /// Batches of an epoch, the last smaller one included.
    pub fn batches_per_epoch(&self) -> u32 {
        u32::try_from(self.plan.per_epoch).unwrap_or(u32::MAX)
    }
}

impl<D: Dataset> Iterator for Loader<D> {
    type Item = Result<Batch<D::Example>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.plan.end {
            return None;
        }
        let serial = self.next;
        self.next += 1;
        if self.threads.is_empty() {
            return Some(self.plan.prepare(serial, &mut None));
        }
        let mut state = self.shared.lock();
        let prepared = loop {
            if let Some(prepared) = state.ready.remove(&serial) {
                break prepared;
            }
            state = wait(&self.shared.prepared, state);
        };
        state.taken = self.next;
        drop(state);
        self.shared.wanted.notify_all();
        // A data set that panics does so here, where somebody can see it.
        Some(prepared.unwrap_or_else(|panic: Box<dyn Any + Send>| resume_unwind(panic)))
    }
}

impl<D: Dataset> Drop for Loader<D> {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wanted.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl<D: Dataset> Plan<D> {
    fn position(&self, serial: u64) -> Position {
        Position {
            epoch: u32::try_from(serial / self.per_epoch).unwrap_or(u32::MAX),
            batch: (serial % self.per_epoch) as u32,
        }
    }

    /// The order of an epoch.
    fn order(&self, epoch: u32) -> Vec<usize> {
        let mut order = self.items.clone();
        if self.options.shuffle {
            Draws::of(Purpose::Order, self.options.seed, epoch, 0).shuffle(&mut order);
        }
        order
    }

    /// Prepares a batch; `cache` keeps the order of the epoch last seen.
    fn prepare(
        &self,
        serial: u64,
        cache: &mut Option<(u32, Vec<usize>)>,
    ) -> Result<Batch<D::Example>> {
        let position = self.position(serial);
        let order = match cache {
            Some((epoch, order)) if *epoch == position.epoch => order,
            other => &mut other.insert((position.epoch, self.order(position.epoch))).1,
        };
        let size = self.options.batch_size;
        let chunk = order.chunks(size).nth(position.batch as usize);
        let indices = chunk.expect("the batch is one of its epoch").to_vec();
        let mut examples = Vec::with_capacity(indices.len());
        for &index in &indices {
            let draws = Draws::new(self.options.seed, position.epoch, index)?;
            examples.push(self.dataset.item(index, draws)?);
        }
        Ok(Batch {
            position,
            indices,
            examples,
        })
    }
}

impl<E> Shared<E> {
    /// No thread panics while it holds the lock, so what it guards is whole.
    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition
        .wait(guard)
        .unwrap_or_else(PoisonError::into_inner)
}

/// A thread's life: begin the next batch as soon as it is near enough.
fn work<D: Dataset>(plan: &Plan<D>, shared: &Shared<D::Example>) {
    let mut cache = None;
    let ahead = plan.options.look_ahead as u64;
    loop {
        let mut state = shared.lock();
        let serial = loop {
            if state.stop || state.begin >= plan.end {
                return;
            }
            // With nothing ahead allowed, the batch that is waited for still has to be made.
            if state.begin <= state.taken.saturating_add(ahead) {
                break state.begin;
            }
            state = wait(&shared.wanted, state);
        };
        state.begin += 1;
        drop(state);
        let prepared = catch_unwind(AssertUnwindSafe(|| plan.prepare(serial, &mut cache)));
        shared.lock().ready.insert(serial, prepared);
        shared.prepared.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn options(threads: usize) -> LoaderOptions {
        LoaderOptions {
            batch_size: 4,
            seed: 9,
            epochs: 3,
            threads,
            look_ahead: 2,
            ..LoaderOptions::default()
        }
    }

    /// Items that say who they are, take different times, and draw.
    fn dataset(n: usize) -> Arc<impl Dataset<Example = (usize, u32)>> {
        Arc::new(from_fn(n, |i, mut draws| {
            std::thread::sleep(Duration::from_micros((i as u64 * 7919) % 300));
            Ok((i, draws.next_u32()))
        }))
    }

    fn all(threads: usize, position: Position) -> Vec<Batch<(usize, u32)>> {
        let items = (0..14).filter(|i| i % 7 != 3).collect();
        let loader = Loader::new(dataset(14), items, options(threads), position).unwrap();
        assert_eq!(loader.position(), position);
        loader.map(|b| b.unwrap()).collect()
    }

    #[test]
    fn the_same_batches_whatever_the_number_of_threads() {
        let alone = all(0, Position::default());
        assert_eq!(alone.len(), 9);
        for threads in [1, 2, 5] {
            assert_eq!(all(threads, Position::default()), alone);
        }
        for epoch in alone.chunks(3) {
            let sizes: Vec<usize> = epoch.iter().map(|b| b.examples.len()).collect();
            assert_eq!(sizes, [4, 4, 4]);
            let mut seen: Vec<usize> = epoch.iter().flat_map(|b| b.indices.clone()).collect();
            seen.sort();
            assert_eq!(seen, [0, 1, 2, 4, 5, 6, 7, 8, 9, 11, 12, 13]);
        }
        assert_ne!(alone[0].indices, alone[3].indices, "a new order per epoch");
        // Whatever the order, an example is a function of epoch and item.
        for batch in &alone {
            for (index, example) in batch.indices.iter().zip(&batch.examples) {
                let mut draws = Draws::new(9, batch.position.epoch, *index).unwrap();
                assert_eq!(*example, (*index, draws.next_u32()));
            }
        }
    }

    #[test]
    fn it_goes_on_from_any_position() {
        let whole = all(2, Position::default());
        for (n, batch) in whole.iter().enumerate() {
            assert_eq!(all(2, batch.position), whole[n..]);
        }
        assert_eq!(all(2, Position { epoch: 3, batch: 0 }), []);
    }

    #[test]
    fn without_shuffling_items_come_as_listed_and_the_rest_is_kept() {
        let options = LoaderOptions {
            shuffle: false,
            epochs: 1,
            ..options(1)
        };
        let mut loader = Loader::new(
            dataset(10),
            vec![9, 1, 5, 0, 2],
            options,
            Position::default(),
        )
        .unwrap();
        assert_eq!(loader.batches_per_epoch(), 2);
        assert_eq!(loader.next().unwrap().unwrap().indices, [9, 1, 5, 0]);
        assert_eq!(loader.position(), Position { epoch: 0, batch: 1 });
        assert_eq!(loader.next().unwrap().unwrap().indices, [2]);
        assert_eq!(loader.position(), Position { epoch: 1, batch: 0 });
        assert!(loader.next().is_none() && loader.next().is_none());
    }

    #[test]
    fn an_error_comes_out_in_its_turn() {
        let broken = |i: usize, _| match i {
            5 => Err(Error::format("five.wav", "cut short")),
            i => Ok(i),
        };
        for threads in [0, 1, 3] {
            let dataset = Arc::new(from_fn(12, broken));
            let options = LoaderOptions {
                shuffle: false,
                epochs: 1,
                ..options(threads)
            };
            let loader =
                Loader::new(dataset, (0..12).collect(), options, Position::default()).unwrap();
            let found: Vec<bool> = loader
                .map(|b| match b {
                    Ok(_) => true,
                    Err(e) => {
                        assert_eq!(e.to_string(), "five.wav: cut short");
                        false
                    }
                })
                .collect();
            assert_eq!(found, [true, false, true]);
        }
    }

    #[test]
    fn it_looks_no_further_ahead_than_allowed_and_ends_when_dropped() {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = begun.clone();
        let dataset = Arc::new(from_fn(1000, move |i, _| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(i)
        }));
        let mut loader = Loader::new(
            dataset.clone(),
            (0..1000).collect(),
            options(3),
            Position::default(),
        )
        .unwrap();
        let settled = |expected: usize| {
            for _ in 0..2000 {
                if begun.load(Ordering::SeqCst) == expected {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(30));
            assert_eq!(begun.load(Ordering::SeqCst), expected);
        };
        settled(3 * 4);
        loader.next().unwrap().unwrap();
        settled(4 * 4);
        drop(loader);
        assert_eq!(
            Arc::strong_count(&dataset),
            1,
            "a thread still holds the data set"
        );
        // Dropped before anything was asked for, and with nothing ahead allowed.
        for look_ahead in [0, 5] {
            let options = LoaderOptions {
                look_ahead,
                ..options(2)
            };
            let mut loader =
                Loader::new(dataset.clone(), vec![1, 2], options, Position::default()).unwrap();
            if look_ahead == 0 {
                assert_eq!(loader.next().unwrap().unwrap().examples.len(), 2);
            }
        }
        assert_eq!(Arc::strong_count(&dataset), 1);
    }

    #[test]
    fn a_panic_of_the_data_set_reaches_the_caller() {
        let dataset = Arc::new(from_fn(4, |i, _| -> Result<usize> {
            assert_ne!(i, 2, "on purpose");
            Ok(i)
        }));
        let mut loader =
            Loader::new(dataset, (0..4).collect(), options(1), Position::default()).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| loader.next()));
        assert!(caught.is_err());
    }

    #[test]
    fn refusals() {
        let new = |items: &[usize], batch_size, batch| {
            let options = LoaderOptions {
                batch_size,
                ..options(0)
            };
            Loader::new(
                dataset(3),
                items.to_vec(),
                options,
                Position { epoch: 0, batch },
            )
            .map(|_| ())
            .unwrap_err()
            .to_string()
        };
        assert!(new(&[], 4, 0).contains("no item"));
        assert!(new(&[3], 4, 0).contains("item 3 of a data set of 3"));
        assert!(new(&[0], 0, 0).contains("batch_size"));
        assert!(new(&[0, 1], 1, 2).contains("batch 2 of an epoch of 2"));
    }
}
