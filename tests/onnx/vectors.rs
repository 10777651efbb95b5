//! Reading the vectors: one JSON list of graphs and one safetensors file of numbers per operator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value as Json;

/// The vectors of one file.
pub struct Suite {
    pub name: String,
    pub tensors: PathBuf,
    pub vectors: Vec<Vector>,
}

/// One graph with its inputs and expected outputs.
pub struct Vector {
    pub test: String,
    pub opset: i64,
    pub nodes: Vec<Node>,
    pub outputs: Vec<Port>,
    /// Inputs and initializers.
    pub given: Vec<Port>,
}

pub struct Node {
    pub op: String,
    /// Names; empty for an optional one that is left out.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: BTreeMap<String, Json>,
}

/// A tensor that goes in or comes out.
pub struct Port {
    pub tensor: String,
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
}

/// Numbers of a tensor as stored.
#[derive(Clone)]
pub struct Numbers {
    pub dtype: String,
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Suite {
    /// Every suite of the folder, by name.
    pub fn all(folder: &Path) -> Result<Vec<Suite>, String> {
        let say = |e: std::io::Error| format!("{}: {e}", folder.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(say)? {
            let path = entry.map_err(say)?.path();
            if path.extension().is_some_and(|e| e == "json") {
                files.push(path);
            }
        }
        files.sort();
        files.iter().map(|file| Suite::read(file)).collect()
    }

    fn read(file: &Path) -> Result<Suite, String> {
        let broken = |what: &str| format!("{}: {what}", file.display());
        let text = std::fs::read_to_string(file).map_err(|e| broken(&e.to_string()))?;
        let json: Json = serde_json::from_str(&text).map_err(|e| broken(&e.to_string()))?;
        let list = json.as_array().ok_or_else(|| broken("no list"))?;
        let vectors = list.iter().map(Vector::read).collect::<Option<Vec<_>>>();
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Suite {
            name: name.into_owned(),
            tensors: file.with_extension("safetensors"),
            vectors: vectors.ok_or_else(|| broken("an entry lacks a field"))?,
        })
    }
}

impl Vector {
    fn read(json: &Json) -> Option<Vector> {
        let ports = |key: &str| -> Option<Vec<Port>> {
            json[key].as_array()?.iter().map(Port::read).collect()
        };
        let mut given = ports("inputs")?;
        given.extend(ports("initializers")?);
        Some(Vector {
            test: json["test"].as_str()?.to_string(),
            opset: json["opset"]["ai.onnx"].as_i64().unwrap_or(0),
            nodes: json["nodes"]
                .as_array()?
                .iter()
                .map(Node::read)
                .collect::<Option<_>>()?,
            outputs: ports("outputs")?,
            given,
        })
    }

    /// The numbers of every port, by the port's name in the graph.
    pub fn load(&self, file: &Path) -> Result<BTreeMap<String, Numbers>, String> {
        let say = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
        let bytes = std::fs::read(file).map_err(|e| say(&e))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| say(&e))?;
        let mut values = BTreeMap::new();
        for port in self.given.iter().chain(&self.outputs) {
            let key = format!("{}/{}", self.test, port.tensor);
            let view = tensors.tensor(&key).map_err(|e| say(&e))?;
            let data = numbers(view.dtype(), view.data())
                .ok_or_else(|| say(&format!("{key} is {:?}", view.dtype())))?;
            let numbers = Numbers {
                dtype: port.dtype.clone(),
                shape: view.shape().to_vec(),
                data,
            };
            values.insert(port.name.clone(), numbers);
        }
        Ok(values)
    }

    /// Outputs that no affekt operator gives: all but the first of a node.
    pub fn not_compared(&self) -> Vec<&str> {
        let others = self.nodes.iter().flat_map(|n| n.outputs.iter().skip(1));
        others
            .filter(|name| self.outputs.iter().any(|o| o.name == **name))
            .map(String::as_str)
            .collect()
    }

    /// Says so if numbers of a float64 vector are too large for f32.
    pub fn beyond_f32(&self, file: &Path) -> Option<String> {
        let ports = || self.given.iter().chain(&self.outputs);
        if !ports().any(|p| p.dtype == "float64") {
            return None;
        }
        let values = match self.load(file) {
            Ok(values) => values,
            // Running it says what is wrong with the file.
            Err(_) => return None,
        };
        let large = |x: &&f64| x.is_finite() && x.abs() > f64::from(f32::MAX);
        let beyond = values.values().flat_map(|v| &v.data).find(large)?;
        Some(format!("float64 {beyond:.0e} is beyond f32"))
    }

    pub fn expected<'a>(
        &self,
        values: &'a BTreeMap<String, Numbers>,
        name: &str,
    ) -> Result<&'a Numbers, String> {
        values
            .get(name)
            .filter(|_| self.outputs.iter().any(|o| o.name == name))
            .ok_or_else(|| format!("{name} is no output"))
    }
}

impl Node {
    fn read(json: &Json) -> Option<Node> {
        let names = |key: &str| -> Option<Vec<String>> {
            let list = json[key].as_array()?;
            list.iter().map(|n| Some(n.as_str()?.to_string())).collect()
        };
        let attributes = json["attributes"].as_object()?;
        Some(Node {
            op: json["op"].as_str()?.to_string(),
            inputs: names("inputs")?,
            outputs: names("outputs")?,
            attributes: attributes
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        })
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attributes
            .get(name)
            .and_then(Json::as_i64)
            .unwrap_or(default)
    }

    pub fn float(&self, name: &str, default: f64) -> f64 {
        self.attributes
            .get(name)
            .and_then(Json::as_f64)
            .unwrap_or(default)
    }

    pub fn word<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.attributes
            .get(name)
            .and_then(Json::as_str)
            .unwrap_or(default)
    }

    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        let list = self.attributes.get(name)?.as_array()?;
        list.iter().map(Json::as_i64).collect()
    }

    /// The tensor of an attribute: nested lists with dtype and shape beside them.
    pub fn tensor(&self, name: &str) -> Option<Numbers> {
        fn flatten(json: &Json, out: &mut Vec<f64>) -> Option<()> {
            match json.as_array() {
                Some(list) => list.iter().try_for_each(|item| flatten(item, out)),
                None => {
                    out.push(json.as_f64().or_else(|| json.as_bool().map(f64::from))?);
                    Some(())
                }
            }
        }
        let json = self.attributes.get(name)?;
        let mut data = Vec::new();
        flatten(&json["tensor"], &mut data)?;
        let lengths = json["shape"].as_array()?;
        let shape: Option<Vec<usize>> = lengths
            .iter()
            .map(|n| usize::try_from(n.as_u64()?).ok())
            .collect();
        Some(Numbers {
            dtype: json["dtype"].as_str()?.to_string(),
            shape: shape?,
            data,
        })
    }
}

impl Port {
    fn read(json: &Json) -> Option<Port> {
        let lengths = json["shape"].as_array()?;
        Some(Port {
            tensor: json["tensor"].as_str()?.to_string(),
            name: json["name"].as_str()?.to_string(),
            dtype: json["dtype"].as_str()?.to_string(),
            shape: lengths
                .iter()
                .map(|n| usize::try_from(n.as_u64()?).ok())
                .collect::<Option<_>>()?,
        })
    }
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        let chunk = |c: &[u8]| f(c.try_into().expect("chunks are of this size"));
        bytes.chunks_exact(N).map(chunk).collect()
    }
    Some(match dtype {
        Dtype::F64 => each(bytes, f64::from_le_bytes),
        Dtype::F32 => each(bytes, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::F16 => each(bytes, |b| half::f16::from_le_bytes(b).to_f64()),
        Dtype::I64 => each(bytes, |b| i64::from_le_bytes(b) as f64),
        Dtype::U64 => each(bytes, |b| u64::from_le_bytes(b) as f64),
        Dtype::I32 => each(bytes, |b| f64::from(i32::from_le_bytes(b))),
        Dtype::U32 => each(bytes, |b| f64::from(u32::from_le_bytes(b))),
        Dtype::BOOL | Dtype::U8 => each(bytes, |[b]| f64::from(b)),
        _ => return None,
    })
}
