//! What can go wrong, as values a caller can match on.
//!
//! Messages are fragments: they say what was found and what was expected, and name the operator first.

use std::fmt;
use std::path::PathBuf;

/// The result of everything in this crate that a caller can get wrong.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that a caller of this crate can be told.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// Shapes that do not fit the operator or each other.
    Shape { op: &'static str, message: String },
    /// A tensor of the wrong rank, or of more than [`MAX_RANK`](crate::MAX_RANK) axes.
    Rank { op: &'static str, message: String },
    /// A dtype the operator does not take; there is no implicit promotion.
    Dtype { op: &'static str, message: String },
    /// An attribute out of its range, of the wrong kind, or unknown.
    Attribute { op: &'static str, message: String },
    /// A reduction or normalisation over an axis of length 0 that has no neutral element.
    Empty { op: &'static str, message: String },
    /// Tensors of two devices met in one operator.
    OtherDevice { op: &'static str },
    /// A size that this device cannot serve.
    Limit {
        what: &'static str,
        requested: u64,
        limit: u64,
    },
    /// The device, or the budget set for it, has no room; `in_use` counts the bytes of live buffers.
    OutOfMemory { requested: u64, in_use: u64 },
    /// The device is gone; parameters come back from the last checkpoint.
    DeviceLost { reason: String },
    /// The driver refused a command. This is a bug in this crate or in the driver.
    Driver { message: String },
    /// No adapter can run compute kernels here; `hint` says what to install.
    NoAdapter { hint: String },
    /// No adapter fits the name or index asked for.
    UnknownAdapter {
        wanted: String,
        available: Vec<String>,
    },
    /// The device lacks a feature that the call needs.
    Unsupported { what: String, adapter: String },
    /// A shader that does not compile: `report` points into the file it came from.
    Shader { name: String, report: String },
    /// Every rung of an operator gave wrong numbers on this adapter.
    KernelWrong {
        op: &'static str,
        adapter: String,
        detail: String,
    },
    /// No operator of that name.
    UnknownOp {
        name: String,
        similar: Vec<&'static str>,
    },
    /// A gradient that cannot be had: of a gradient, of a freed graph, of something that is no scalar.
    Gradient { message: String },
    /// Parameters or moments that do not fit the model: what is missing, unexpected, or of another shape.
    State { message: String },
    /// A number that training must not go on with.
    NotFinite { what: String, step: Option<u64> },
    /// A file whose content is not what its format promises.
    Format { file: PathBuf, message: String },
    /// Results of other sizes under the same name: one is no measure of the other.
    Incomparable {
        row: String,
        found: String,
        expected: String,
    },
    /// A file that cannot be read or written.
    Io { file: PathBuf, message: String },
}

impl Error {
    pub(crate) fn shape(op: &'static str, message: impl Into<String>) -> Self {
        Error::Shape {
            op,
            message: message.into(),
        }
    }

    pub(crate) fn rank(op: &'static str, message: impl Into<String>) -> Self {
        Error::Rank {
            op,
            message: message.into(),
        }
    }

    pub(crate) fn dtype(op: &'static str, message: impl Into<String>) -> Self {
        Error::Dtype {
            op,
            message: message.into(),
        }
    }

    pub(crate) fn attribute(op: &'static str, message: impl Into<String>) -> Self {
        Error::Attribute {
            op,
            message: message.into(),
        }
    }

    pub(crate) fn format(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Error::Format {
            file: file.into(),
            message: message.into(),
        }
    }

    pub(crate) fn io(file: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        Error::Io {
            file: file.into(),
            message: error.to_string(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Shape { op, message }
            | Error::Rank { op, message }
            | Error::Dtype { op, message }
            | Error::Attribute { op, message }
            | Error::Empty { op, message } => write!(f, "{op}: {message}"),
            Error::OtherDevice { op } => write!(f, "{op}: inputs live on different devices"),
            Error::Limit {
                what,
                requested,
                limit,
            } => write!(
                f,
                "{what}: {requested} requested, this device allows {limit}"
            ),
            Error::OutOfMemory { requested, in_use } => write!(
                f,
                "out of device memory: {requested} bytes requested with {in_use} bytes in use"
            ),
            Error::DeviceLost { reason } => write!(f, "device lost: {reason}"),
            Error::Driver { message } => write!(f, "driver refused a command: {message}"),
            Error::NoAdapter { hint } => write!(f, "no adapter can run compute kernels: {hint}"),
            Error::UnknownAdapter { wanted, available } => write!(
                f,
                "no adapter matches {wanted:?}; there is {}",
                if available.is_empty() {
                    "none".to_string()
                } else {
                    available.join(", ")
                }
            ),
            Error::Incomparable {
                row,
                found,
                expected,
            } => write!(
                f,
                "{row} is of {found} in one file and of {expected} in another"
            ),
            Error::Unsupported { what, adapter } => write!(f, "{adapter} has no {what}"),
            Error::Shader { name, report } => write!(f, "shader {name}: {report}"),
            Error::KernelWrong {
                op,
                adapter,
                detail,
            } => write!(f, "{op} gives wrong numbers on {adapter}: {detail}"),
            Error::UnknownOp { name, similar } => {
                write!(f, "no operator named {name:?}")?;
                if !similar.is_empty() {
                    write!(f, "; did you mean {}", similar.join(", "))?;
                }
                Ok(())
            }
            Error::Gradient { message } => write!(f, "gradient: {message}"),
            Error::State { message } => write!(f, "state: {message}"),
            Error::NotFinite { what, step } => {
                if let Some(step) = step {
                    write!(f, "step {step}: ")?;
                }
                write!(f, "{what} is not finite")
            }
            Error::Format { file, message } | Error::Io { file, message } => {
                write!(f, "{}: {message}", file.display())
            }
        }
    }
}

impl std::error::Error for Error {}
