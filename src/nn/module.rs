//! Parameters, and the trees of named ones that models are.
//!
//! A layer implements one method, [`Module::visit`], which names its parameters and its parts. Counting, saving, loading,
//! optimizers and averages all go through it, so names are the same everywhere: PyTorch's, joined by dots
//! (`blocks.3.attn.qkv.weight`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, RwLock};

use crate::error::{Error, Result};
use crate::tensor::{Shape, Tensor, file};

/// A tensor that training changes: a leaf of the tape behind a handle that can be swapped.
///
/// Clones share the handle. A step writes a fresh tensor and [`set`](Self::set)s it; whoever still holds the old one, a
/// pending expression or a tape, reads the old numbers.
#[derive(Debug, Clone)]
pub struct Param {
    slot: Arc<RwLock<Tensor>>,
}

impl Param {
    /// A parameter that starts with the numbers of `tensor`.
    ///
    /// Errors: [`Error::Gradient`] for integers.
    pub fn new(tensor: &Tensor) -> Result<Self> {
        Ok(Param {
            slot: Arc::new(RwLock::new(tensor.requires_grad()?)),
        })
    }

    /// The present numbers, as a leaf of the tape.
    pub fn tensor(&self) -> Tensor {
        self.slot
            .read()
            .expect("nothing panics while a parameter is locked")
            .clone()
    }

    /// Replaces the numbers.
    ///
    /// Errors: [`Error::Shape`] or [`Error::Dtype`] if `tensor` is not like the present one.
    pub fn set(&self, tensor: &Tensor) -> Result<()> {
        let mut slot = self
            .slot
            .write()
            .expect("nothing panics while a parameter is locked");
        if tensor.shape() != slot.shape() {
            return Err(Error::shape(
                "param",
                format!(
                    "the new tensor has shape {:?}, expected {:?}",
                    tensor.shape(),
                    slot.shape()
                ),
            ));
        }
        if tensor.dtype() != slot.dtype() {
            return Err(Error::dtype(
                "param",
                format!(
                    "the new tensor is {}, expected {}",
                    tensor.dtype(),
                    slot.dtype()
                ),
            ));
        }
        *slot = tensor.requires_grad()?;
        Ok(())
    }
}

/// A layer or a model: a tree of named parameters. What it computes is a method of its own, `forward`.
pub trait Module {
    /// Names every parameter and every part, always in the same order.
    fn visit(&self, visitor: &mut Visitor<'_>);

    /// Every parameter with its full name, in the order of [`visit`](Self::visit).
    fn named_parameters(&self) -> Vec<(String, Param)> {
        let mut found = Vec::new();
        self.visit(&mut Visitor {
            path: String::new(),
            each: &mut |name, param| found.push((name.to_string(), param.clone())),
        });
        found
    }

    /// Number of trained numbers.
    fn n_parameters(&self) -> usize {
        let named = self.named_parameters();
        named.iter().map(|(_, p)| p.tensor().numel()).sum()
    }

    /// The parameters as plain tensors by name, as [`load_state`](Self::load_state) takes them.
    fn state(&self) -> Vec<(String, Tensor)> {
        self.named_parameters()
            .into_iter()
            .map(|(name, param)| (name, param.tensor().detach()))
            .collect()
    }

    /// Sets every parameter from tensors by name.
    ///
    /// Errors: [`Error::State`] if a name is missing, unexpected or of another shape, listing all of them; nothing is
    /// changed then.
    fn load_state(&self, tensors: &[(String, Tensor)]) -> Result<()> {
        let fit = fit(self.named_parameters(), tensors);
        if !fit.missing.is_empty() || !fit.unexpected.is_empty() || !fit.reshaped.is_empty() {
            return Err(Error::State {
                message: fit.complaint(),
            });
        }
        fit.set()
    }

    /// Sets the parameters whose names and shapes are among `tensors`, and says what did not fit: public weights for a
    /// model whose input or classes differ.
    ///
    /// Errors: [`Error::State`] if not one fits.
    fn load_matching(&self, tensors: &[(String, Tensor)]) -> Result<Loaded> {
        let fit = fit(self.named_parameters(), tensors);
        if fit.matching.is_empty() {
            return Err(Error::State {
                message: format!("no name and shape fits: {}", fit.complaint()),
            });
        }
        fit.set()?;
        Ok(Loaded {
            n_loaded: fit.matching.len(),
            missing: fit.missing,
            unexpected: fit.unexpected,
            reshaped: fit.reshaped,
        })
    }

    /// Saves the parameters to a safetensors file.
    ///
    /// Errors: [`Error::Io`]; the old file is still there then.
    fn save(&self, path: impl AsRef<Path>) -> Result<()>
    where
        Self: Sized,
    {
        let state = self.state();
        let named: Vec<(&str, &Tensor)> = state.iter().map(|(n, t)| (n.as_str(), t)).collect();
        file::save(path, &named)
    }
}

/// What [`Module::load_matching`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub n_loaded: usize,
    /// Parameters that no tensor is named as.
    pub missing: Vec<String>,
    /// Tensors that no parameter is named as.
    pub unexpected: Vec<String>,
    /// Names that fit with shapes, dtypes or devices that do not.
    pub reshaped: Vec<String>,
}

/// Collects names on the way through a tree of modules.
pub struct Visitor<'a> {
    path: String,
    each: &'a mut dyn FnMut(&str, &Param),
}

impl Visitor<'_> {
    /// A parameter of the module at hand.
    pub fn param(&mut self, name: &str, param: &Param) {
        let before = self.enter(name);
        (self.each)(&self.path, param);
        self.path.truncate(before);
    }

    /// A parameter that may be left out.
    pub fn optional(&mut self, name: &str, param: Option<&Param>) {
        if let Some(param) = param {
            self.param(name, param);
        }
    }

    /// A part of the module at hand.
    pub fn module(&mut self, name: &str, module: &dyn Module) {
        let before = self.enter(name);
        module.visit(self);
        self.path.truncate(before);
    }

    /// Parts that are counted: `blocks.0`, `blocks.1`, …
    pub fn list<M: Module>(&mut self, name: &str, modules: &[M]) {
        let before = self.enter(name);
        for (i, module) in modules.iter().enumerate() {
            self.module(&i.to_string(), module);
        }
        self.path.truncate(before);
    }

    fn enter(&mut self, name: &str) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        before
    }
}

/// How parameters and tensors go together.
struct Fit<'a> {
    matching: Vec<(Param, &'a Tensor)>,
    missing: Vec<String>,
    unexpected: Vec<String>,
    reshaped: Vec<String>,
}

fn fit(parameters: Vec<(String, Param)>, tensors: &[(String, Tensor)]) -> Fit<'_> {
    let mut left: BTreeMap<&str, &Tensor> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut fit = Fit {
        matching: Vec::new(),
        missing: Vec::new(),
        unexpected: Vec::new(),
        reshaped: Vec::new(),
    };
    for (name, param) in parameters {
        let present = param.tensor();
        match left.remove(name.as_str()) {
            None => fit.missing.push(name),
            Some(tensor) if tensor.shape() != present.shape() => {
                let shapes = |found: &Shape, wanted: &Shape| {
                    format!("{name} is {found:?}, expected {wanted:?}")
                };
                fit.reshaped.push(shapes(tensor.shape(), present.shape()));
            }
            Some(tensor) if tensor.dtype() != present.dtype() => fit.reshaped.push(format!(
                "{name} is {}, expected {}",
                tensor.dtype(),
                present.dtype()
            )),
            Some(tensor) if !tensor.device().same(present.device()) => {
                fit.reshaped.push(format!("{name} is on another device"));
            }
            Some(tensor) => fit.matching.push((param, tensor)),
        }
    }
    // In the order in which they were given.
    fit.unexpected = tensors
        .iter()
        .filter(|(name, _)| left.contains_key(name.as_str()))
        .map(|(name, _)| name.clone())
        .collect();
    fit
}

impl Fit<'_> {
    fn set(&self) -> Result<()> {
        for (param, tensor) in &self.matching {
            param.set(tensor)?;
        }
        Ok(())
    }

    fn complaint(&self) -> String {
        let lists = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("not fitting", &self.reshaped),
        ];
        lists
            .iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(what, list)| format!("{what}: {}", list.join(", ")))
            .collect::<Vec<_>>()
            .join("; ")
    }
}
