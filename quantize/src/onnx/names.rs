//! Which initialiser is which weight.
//!
//! PyTorch's exporter keeps the names of weights that it uses as they are. Those of linear layers
//! it transposes and those of group norms it reshapes, and names them `onnx::MatMul_1234`; but the
//! node that reads them has the path of its module, `/down_blocks.0/attentions.0/proj_in/MatMul`.
//! Equal tensors it stores once, and passes them on through `Identity`.

use std::collections::{BTreeMap, HashMap};

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// What must be done to an initialiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    /// A matrix `[in, out]`.
    Transposed,
    /// A vector with extents of one behind it.
    Vector,
}

/// A weight: the initialiser that it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight<'a> {
    pub tensor: &'a TensorProto,
    pub form: Form,
}

/// Longest chain of `Identity` that is followed.
const CHAIN_CAP: usize = 64;

/// Initialisers by name, and what stands for others.
struct Values<'a> {
    tensors: HashMap<&'a str, &'a TensorProto>,
    same: HashMap<&'a str, &'a str>,
}

impl<'a> Values<'a> {
    fn of(graph: &'a GraphProto) -> Self {
        let tensors = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor));
        let same =
            graph.node.iter().filter(|node| node.op_type == "Identity").filter_map(|node| {
                Some((node.output.first()?.as_str(), node.input.first()?.as_str()))
            });
        Self { tensors: tensors.collect(), same: same.collect() }
    }

    /// The initialiser called `name`, or passed on as it.
    fn find(&self, mut name: &'a str) -> Option<&'a TensorProto> {
        for _ in 0..CHAIN_CAP {
            if let Some(tensor) = self.tensors.get(name) {
                return Some(tensor);
            }
            name = self.same.get(name)?;
        }
        None
    }
}

/// All weights of a graph by their names in PyTorch.
pub(super) fn weights(graph: &GraphProto) -> BTreeMap<String, Weight<'_>> {
    let values = Values::of(graph);
    let mut weights = BTreeMap::new();
    let names = values.tensors.keys().chain(values.same.keys());
    for name in names.filter(|name| is_of_pytorch(name)) {
        if let Some(tensor) = values.find(name) {
            weights.insert((*name).to_owned(), Weight { tensor, form: Form::Whole });
        }
    }
    for node in &graph.node {
        let Some(module) = module(node) else { continue };
        for (leaf, weight) in read_by(node, &values) {
            weights.entry(format!("{module}.{leaf}")).or_insert(weight);
        }
    }
    weights
}

/// Whether a name is a module's and a leaf's, and not the exporter's.
fn is_of_pytorch(name: &str) -> bool {
    name.ends_with(".weight") || name.ends_with(".bias")
}

/// The module that a node belongs to: `/a/b.0/c/MatMul` is of `a.b.0.c`.
fn module(node: &NodeProto) -> Option<String> {
    let (path, _) = node.name.strip_prefix('/')?.rsplit_once('/')?;
    Some(path.replace('/', "."))
}

/// The weights among a node's inputs, by their leaves.
fn read_by<'a>(node: &'a NodeProto, values: &Values<'a>) -> Vec<(&'static str, Weight<'a>)> {
    let input = |i: usize| node.input.get(i).and_then(|name| values.find(name));
    let whole = |i, leaf| input(i).map(|tensor| (leaf, Weight { tensor, form: Form::Whole }));
    let vector = |leaf| {
        let tensor = input(1).or_else(|| input(0)).filter(|tensor| is_vector(&tensor.dims))?;
        Some((leaf, Weight { tensor, form: Form::Vector }))
    };
    let found = match node.op_type.as_str() {
        "MatMul" => {
            let matrix = input(1).filter(|tensor| tensor.dims.len() == 2);
            [matrix.map(|tensor| ("weight", Weight { tensor, form: Form::Transposed })), None]
        }
        "Gemm" => {
            let transposed = node.attribute.iter().any(|a| a.name == "transB" && a.i == 1);
            let form = if transposed { Form::Whole } else { Form::Transposed };
            [input(1).map(|tensor| ("weight", Weight { tensor, form })), whole(2, "bias")]
        }
        "Conv" | "LayerNormalization" => [whole(1, "weight"), whole(2, "bias")],
        "Gather" => [whole(0, "weight"), None],
        "Mul" => [vector("weight"), None],
        "Add" => [vector("bias"), None],
        _ => [None, None],
    };
    found.into_iter().flatten().collect()
}

/// Whether only the first extent is more than one, as of a group norm's scale.
fn is_vector(dims: &[i64]) -> bool {
    dims.split_first().is_some_and(|(first, rest)| *first > 1 && rest.iter().all(|n| *n == 1))
}
