//! What a model is fed with: sound files, corpora by their layout, splits, augmentation, batches prepared by threads of
//! the host while the device works. Knows no device, no model and no loss.
//!
//! ```no_run
//! use affekt::data::{Clip, Corpus, Protocol};
//!
//! # fn main() -> affekt::Result<()> {
//! let corpus = Corpus::open("emodb", None)?;
//! for fold in Protocol::LeaveOneSubjectOut.folds(&corpus)? {
//!     println!("{}: {} to learn from, {} to test on", fold.name, fold.train.len(), fold.test.len());
//! }
//! let clip = Clip::read(&corpus.items[0].file)?;
//! println!("{:.1} s at {} Hz", clip.seconds(), clip.sample_rate_hz);
//! # Ok(())
//! # }
//! ```

pub mod audio;
pub mod augment;
pub mod corpus;
pub mod draws;
pub mod loader;
pub mod manifest;
pub mod split;
pub mod synthetic;

pub use audio::Clip;
pub use augment::SpecAugment;
pub use corpus::{Corpus, Item, Kind};
pub use draws::Draws;
pub use loader::{Batch, Dataset, Loader, LoaderOptions, Position};
pub use split::{Fold, Protocol};
