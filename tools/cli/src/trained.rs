//! A trained run, as `affekt eval` and `affekt predict` name it.

use std::path::PathBuf;

use affekt::Device;
use affekt::train::Excerpt;
use affekt::train::experiment::Trained;
use clap::Args;

use crate::outcome::Failure;

#[derive(Args)]
pub struct Chosen {
    /// Folder of the run, or a checkpoint
    run: PathBuf,
    /// Only the model of this fold
    #[arg(long, value_name = "NAME")]
    fold: Option<String>,
    /// What to hear of a recording longer than the model's input: its middle, or segments that overlap by half, averaged;
    /// as the run was tested if not given
    #[arg(long, value_name = "WHAT", value_parser = ["middle", "segments"])]
    excerpt: Option<String>,
}

impl Chosen {
    pub fn open(&self, device: &Device) -> Result<Trained, Failure> {
        let mut trained = Trained::open(device, &self.run, self.fold.as_deref())?;
        if let Some(excerpt) = self.excerpt.as_deref().and_then(Excerpt::named) {
            trained.cut.excerpt = excerpt;
        }
        Ok(trained)
    }
}
