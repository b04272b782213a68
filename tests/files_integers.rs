//! Integer weights in files: as they are written, as ggml's blocks, and as damage leaves them.
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pochade::files::gguf::{Gguf, GgufWriter, TensorSpec, Value};
use pochade::files::{
    Component, ComponentWeights, FileBytes, FileError, ModelFiles, NewTensor, WeightEncoding,
    Weights, pack,
};
use pochade::nets::{UNet, UNetConfig};
use pochade::paint::Memory;
use pochade_engine::{DType, Encoding, Filter, PanelShape, TensorView};

const LAYER: &str = "middle_block.1.proj_in";

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn f32s(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// A tensor of a file that is made here.
#[derive(Clone)]
struct Part {
    spec: TensorSpec,
    bytes: Vec<u8>,
}

fn part(name: &str, dtype: DType, shape: &[usize], bytes: &[u8]) -> Part {
    let name = format!("{}{LAYER}.{name}", Component::Unet.prefix());
    Part { spec: TensorSpec { name, dtype, shape: shape.to_vec() }, bytes: bytes.to_vec() }
}

/// The numbers of a layer of 20 outputs and 40 channels, so that panels and blocks need padding.
const SHAPE: [usize; 2] = [20, 40];

fn numbers() -> Vec<f32> {
    (0..SHAPE[0] * SHAPE[1]).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect()
}

fn rounded(encoding: Encoding) -> Filter {
    let bytes = f32s(numbers());
    Filter::rounded(&TensorView::new(DType::F32, &SHAPE, &bytes).unwrap(), None, encoding).unwrap()
}

/// The tensors of the layer in the file.
fn parts(encoding: Encoding) -> Vec<Part> {
    let filter = rounded(encoding);
    let stored = filter.to_store().unwrap();
    let shape = stored.shape;
    let mut parts = vec![
        part("weight", DType::I8, &shape.weight(encoding), stored.weight),
        part("weight.step", DType::F32, &[shape.outputs], &stored.steps),
        part("bias", DType::F32, &[shape.outputs], &f32s((0..20u8).map(f32::from))),
    ];
    if let Some(multipliers) = stored.multipliers {
        parts.push(part("weight.multiplier", DType::I8, &shape.multipliers(), multipliers));
    }
    parts
}

fn gguf(parts: &[Part], layout: Option<Value>) -> Gguf {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let mut metadata = vec![("pochade.unet.config".to_owned(), Value::String("{}".to_owned()))];
    metadata.extend(layout.map(|version| ("pochade.layout".to_owned(), version)));
    let specs = parts.iter().map(|part| part.spec.clone()).collect();
    let mut writer = GgufWriter::create(&path, &metadata, specs).unwrap();
    for Part { spec, bytes } in parts {
        writer.tensor(&TensorView::new(spec.dtype, &spec.shape, bytes).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    Gguf::parse("a.gguf", FileBytes::Owned(Arc::from(std::fs::read(&path).unwrap()))).unwrap()
}

fn weights(parts: &[Part]) -> ComponentWeights {
    let files = ModelFiles::from_gguf(gguf(parts, Some(Value::U32(1)))).unwrap();
    files.weights(Component::Unet).unwrap()
}

fn layer(parts: &[Part]) -> Result<Arc<Filter>, FileError> {
    Weights::new(&weights(parts)).at(LAYER).linear(SHAPE[0], SHAPE[1])
}

#[test]
fn a_layer_is_read_back_as_it_was_rounded() {
    for encoding in [Encoding::Int8, Encoding::Int4] {
        let parts = parts(encoding);
        let read = layer(&parts).unwrap();
        assert_eq!(read.rounded_values(), rounded(encoding).rounded_values());
        let weights = weights(&parts);
        let hollow = Weights::hollow(&weights).at(LAYER).linear(20, 40).unwrap();
        assert_eq!(hollow.bytes(), read.bytes(), "what is planned is what is loaded");
        assert!(hollow.is_integer());
    }
}

/// Changes one of the layer's tensors and says why the layer is then refused.
fn refusal(encoding: Encoding, name: &str, change: impl Fn(&mut Part)) -> String {
    let mut parts = parts(encoding);
    let part = parts.iter_mut().find(|p| p.spec.name.ends_with(&format!("{LAYER}.{name}")));
    change(part.unwrap());
    layer(&parts).unwrap_err().to_string()
}

#[test]
fn panels_of_other_sizes_are_refused() {
    let message = refusal(Encoding::Int8, "weight", |part| part.spec.shape = vec![3, 1, 2, 256]);
    assert!(
        message.contains("[3, 1, 2, 256] where the config asks for [2, 1, 3, 256]"),
        "{message}"
    );
    let message = refusal(Encoding::Int4, "weight", |part| part.spec.shape = vec![768]);
    assert!(message.contains("[2, 1, 3, 128] in int4"), "{message}");
    let message = refusal(Encoding::Int8, "weight.step", |part| part.spec.shape = vec![2, 10]);
    assert!(message.contains("weight.step"), "{message}");
    let message = refusal(Encoding::Int8, "weight.step", |part| {
        part.spec.dtype = DType::F16;
        part.bytes.truncate(40);
    });
    assert!(message.contains("the steps are f16"), "{message}");
    let message =
        refusal(Encoding::Int4, "weight.multiplier", |part| part.spec.shape = vec![4, 1, 1, 16]);
    assert!(message.contains("the multipliers are i8 [4, 1, 1, 16]"), "{message}");
    let message = refusal(Encoding::Int8, "bias", |part| part.spec.shape = vec![4, 5]);
    assert!(message.contains(".bias' is [4, 5]"), "{message}");
}

#[test]
fn values_that_no_rounding_makes_are_refused() {
    let message = refusal(Encoding::Int8, "weight", |part| part.bytes[7] = 0x80);
    assert!(message.contains("a weight is -128"), "{message}");
    let message = refusal(Encoding::Int4, "weight.multiplier", |part| part.bytes[3] = 16);
    assert!(message.contains("not within -15 and 15"), "{message}");
    let message = refusal(Encoding::Int4, "weight.multiplier", |part| part.bytes[3] = 0x80);
    assert!(message.contains("not within -15 and 15"), "{message}");
    for step in [f32::NAN, f32::INFINITY, -1.0] {
        let message = refusal(Encoding::Int4, "weight.step", |part| {
            part.bytes[..4].copy_from_slice(&step.to_le_bytes());
        });
        assert!(message.contains("a step is not a number"), "{message}");
    }
}

#[test]
fn padding_that_is_not_zero_is_refused() {
    // The last of the three blocks has 8 channels of 16: its second half is padding.
    let message = refusal(Encoding::Int8, "weight", |part| part.bytes[3 * 256 - 1] = 1);
    assert!(message.contains("padding behind the last channel"), "{message}");
    let message = refusal(Encoding::Int4, "weight", |part| part.bytes[3 * 128 - 1] = 0x98);
    assert!(message.contains("padding behind the last channel"), "{message}");
}

#[test]
fn missing_companions_are_named() {
    for (encoding, name) in
        [(Encoding::Int8, "step"), (Encoding::Int4, "step"), (Encoding::Int4, "multiplier")]
    {
        let mut parts = parts(encoding);
        parts.retain(|part| !part.spec.name.ends_with(name));
        let message = layer(&parts).unwrap_err().to_string();
        assert!(message.contains(&format!("no tensor '{LAYER}.weight.{name}'")), "{message}");
    }
}

#[test]
fn integers_are_not_taken_for_numbers() {
    let weights = weights(&[part("weight", DType::I8, &[4], &[1, 2, 3, 4])]);
    let at = Weights::new(&weights).at(LAYER);
    for message in
        [at.norm(4).unwrap_err().to_string(), at.tensor("weight").unwrap_err().to_string()]
    {
        assert!(message.contains("stored as i8"), "{message}");
    }
    let shape = [2, 2];
    let view = TensorView::new(DType::I8, &shape, &[1, 2, 3, 4]).unwrap();
    assert!(Filter::linear(&view, None).is_err());
}

#[test]
fn a_layout_that_is_not_known_is_refused_before_any_weight_is_read() {
    let parts = parts(Encoding::Int8);
    let error = |layout| ModelFiles::from_gguf(gguf(&parts, layout)).unwrap_err().to_string();
    assert!(error(Some(Value::U32(2))).contains("layout 2, and layout 1 is read here"));
    assert!(error(Some(Value::String("1".to_owned()))).contains("layout 1 is read here"));
    assert!(error(None).contains("no 'pochade.layout' says how"));
}

#[test]
fn sums_that_do_not_fit_are_refused() {
    let (shape, bytes) = ([1, 70_000], vec![0; 280_000]);
    let view = TensorView::new(DType::F32, &shape, &bytes).unwrap();
    let error = Filter::rounded(&view, None, Encoding::Int8).unwrap_err().to_string();
    assert!(error.contains("do not fit 32 bits"), "{error}");
}

#[test]
fn ggml_blocks_stand_for_the_values_their_python_package_says() {
    let gguf = Gguf::open(&fixtures().join("files/blocks.gguf")).unwrap();
    let view = |name: &str| {
        let name = format!("model.diffusion_model.{name}");
        gguf.tensors().view(&name).unwrap().unwrap()
    };
    for name in ["q8", "q4"] {
        let (blocks, values) = (view(&format!("{name}.weight")), view(&format!("{name}.values")));
        assert_eq!(blocks.shape(), [32, 64]);
        assert_eq!(blocks.to_f32(), values.to_f32(), "{name}");
        let mut some = [0.0; 70];
        blocks.read_f32(17, &mut some);
        assert_eq!(some, values.to_f32()[17..87], "from the middle of a block");
    }
}

#[test]
fn a_linear_layer_in_ggml_blocks_becomes_one_in_int8() {
    let files = ModelFiles::open(&fixtures().join("files/blocks.gguf")).unwrap();
    let weights = files.weights(Component::Unet).unwrap();
    for name in ["q8", "q4"] {
        let layer = Weights::new(&weights).at(name).unbiased().linear(32, 64).unwrap();
        let planned = Weights::hollow(&weights).at(name).unbiased().linear(32, 64).unwrap();
        assert!(layer.is_integer());
        assert_eq!(planned.bytes(), layer.bytes());
        let values = weights.view(&format!("{name}.values")).unwrap().to_f32();
        let found = layer.rounded_values().unwrap();
        for (found, wanted) in found.chunks_exact(64).zip(values.chunks_exact(64)) {
            let step = wanted.iter().fold(0.0f32, |m, v| m.max(v.abs())) / 127.0;
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 0.501 * step;
            assert!(found.iter().zip(wanted).all(close), "{name}");
        }
    }
    let refused = Weights::new(&weights).at("q5").unbiased().linear(32, 64);
    assert!(refused.unwrap_err().to_string().contains("stored as Q5_1"));
}

fn packed(model: &Path, to: &Path, encoding: WeightEncoding) -> Result<ModelFiles, FileError> {
    pack(&ModelFiles::open(model)?, to, encoding, |_| ControlFlow::Continue(()))?;
    ModelFiles::open(to)
}

#[test]
fn a_packed_model_has_integers_where_the_work_is() {
    let folder = tempfile::tempdir().unwrap();
    let source = fixtures().join("pipeline/xl");
    let cases = [("int8", WeightEncoding::Int8, 256), ("int4", WeightEncoding::Int4, 128)];
    for (word, encoding, block) in cases {
        let path = folder.path().join(format!("{word}.gguf"));
        let model = packed(&source, &path, encoding).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        for part in ["text_encoder", "text_encoder_2", "unet", "vae"] {
            let stated = gguf.get(&format!("pochade.{part}.encoding")).unwrap();
            assert_eq!(stated.as_str(), Some(word), "{part}");
        }
        let unet = model.weights(Component::Unet).unwrap();
        let kind = |name: &str| unet.view(name).unwrap().dtype();
        assert_eq!(kind("input_blocks.1.0.in_layers.2.weight"), DType::I8);
        assert_eq!(kind("input_blocks.1.0.in_layers.2.weight.step"), DType::F32);
        assert_eq!(kind("input_blocks.1.0.in_layers.2.bias"), DType::F32);
        assert_eq!(kind("input_blocks.1.0.emb_layers.1.weight"), DType::Q8_0);
        assert_eq!(kind("input_blocks.0.0.weight"), DType::F16);
        assert_eq!(kind("out.2.weight"), DType::F16);
        let shape = PanelShape { outputs: 16, taps: 9, channels: 16 };
        let wanted = unet.view("input_blocks.1.0.in_layers.2.weight").unwrap().shape().to_vec();
        assert_eq!(wanted, [1, 9, 1, block]);
        assert_eq!(wanted[1..3], shape.weight(Encoding::Int8)[1..3]);
        let names: Vec<&str> = unet.tensors().map(|t| t.name).take(4).collect();
        assert_eq!(names[0], "time_embed.0.weight", "the order is that of execution");
        let planned = Memory::plan(&model, 1).unwrap();
        let float = Memory::plan(&ModelFiles::open(&source).unwrap(), 1).unwrap();
        assert!(planned.parts[2].weights < float.parts[2].weights);
    }
}

#[test]
fn integer_weights_are_kept_but_not_made_into_others() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["1.gguf", "2.gguf"].map(|name| folder.path().join(name));
    packed(&fixtures().join("pipeline/xl"), &first, WeightEncoding::Int4).unwrap();
    packed(&first, &second, WeightEncoding::Keep).unwrap();
    assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
    for encoding in [WeightEncoding::F16, WeightEncoding::Int8, WeightEncoding::Int4] {
        let error = packed(&first, &second, encoding).unwrap_err().to_string();
        assert!(error.contains("is in integers already"), "{error}");
    }
}

#[test]
fn a_weight_that_is_no_number_is_not_rounded() {
    let mut values = numbers();
    values[41] = f32::NAN;
    let parts = [part("weight", DType::F32, &SHAPE, &f32s(values))];
    let model = ModelFiles::from_gguf(gguf(&parts, None)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let error = pack(&model, &path, WeightEncoding::Int8, |_| ControlFlow::Continue(()));
    let error = error.unwrap_err().to_string();
    let wanted = "proj_in.weight' has a value that is no finite number";
    assert!(error.contains(wanted), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_split_that_is_not_one_of_channels_is_refused_by_its_name() {
    let mut model = ModelFiles::open(&fixtures().join("files/tiny")).unwrap();
    let weights = model.weights(Component::Unet).unwrap();
    let name = "output_blocks.0.0.skip_connection.weight";
    let filter = Filter::rounded(&weights.view(name).unwrap(), None, Encoding::Int8).unwrap();
    let channels = filter.channels();
    drop(weights);
    let config = UNetConfig::from_diffusers(model.config(Component::Unet).unwrap()).unwrap();
    for (at, fits) in [(1.0, true), (0.0, false), (1.5, false), (channels as f32, false)] {
        let mut tensors = NewTensor::panels(name, &filter);
        tensors.extend(NewTensor::of_f32(format!("{name}.split"), vec![1], &[at]));
        model.replace(Component::Unet, tensors);
        let weights = model.weights(Component::Unet).unwrap();
        let loaded = UNet::load(&Weights::new(&weights), &config);
        assert_eq!(loaded.is_ok(), fits, "{at}");
        if let Err(error) = loaded {
            assert!(error.to_string().contains("skip_connection.weight.split"), "{error}");
        }
    }
}
