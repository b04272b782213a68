//! Safetensors and GGUF against what the PyPI packages write, and against themselves.
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use pochade::files::gguf::{Gguf, GgufWriter, TensorSpec, Value, ValueType};
use pochade::files::{Encoding, FileBytes, FileError, TensorFile, safetensors};
use pochade_engine::{DType, TensorView};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files").join(name)
}

fn values(file: &TensorFile, name: &str) -> Vec<f32> {
    file.view(name).unwrap().unwrap().to_f32()
}

fn is_refused(file: &TensorFile, name: &str, encoding: &str) {
    let stored = file.find(name).unwrap();
    assert_eq!(stored.encoding, Encoding::Other(encoding.to_owned()));
    let error = file.view(name).unwrap_err();
    assert!(matches!(error, FileError::Encoding { .. }), "{error}");
    assert!(error.to_string().contains(encoding));
}

#[test]
fn safetensors_reads_what_its_python_package_wrote() {
    let file = safetensors::open(&fixture("mixed.safetensors")).unwrap();
    let wanted: BTreeMap<String, Vec<f32>> =
        serde_json::from_slice(&std::fs::read(fixture("mixed.json")).unwrap()).unwrap();
    for (name, wanted) in &wanted {
        assert_eq!(&values(&file, name), wanted, "{name}");
    }
    assert_eq!(file.find("half").unwrap().shape, [2, 3, 4]);
    assert!(file.find("scalar").unwrap().shape.is_empty());
    is_refused(&file, "position_ids", "I64");
    is_refused(&file, "eighth", "F8_E4M3");
    assert!(file.view("absent").unwrap().is_none());
}

#[test]
fn safetensors_reads_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let bytes: Vec<u8> = (0..24).collect();
    let shape = [2, 3];
    let single = TensorView::new(DType::F32, &shape, &bytes).unwrap();
    let half = TensorView::new(DType::F16, &shape, &bytes[..12]).unwrap();
    safetensors::write(&path, &[("b", single), ("a", half)]).unwrap();
    let file = safetensors::open(&path).unwrap();
    assert_eq!(file.view("b").unwrap().unwrap().bytes(), bytes);
    assert_eq!(file.view("a").unwrap().unwrap().bytes(), &bytes[..12]);
    assert!(safetensors::write(&path, &[("a", half), ("a", half)]).is_err());
}

#[test]
fn gguf_reads_what_its_python_package_wrote() {
    let gguf = Gguf::open(&fixture("mixed.gguf")).unwrap();
    let text = |s: &str| Value::String(s.to_owned());
    let int = Value::I32;
    let ints =
        |items: &[i32]| Value::Array(ValueType::I32, items.iter().copied().map(int).collect());
    let wanted = [
        ("general.architecture", text("pochade")),
        ("t.u8", Value::U8(200)),
        ("t.i8", Value::I8(-3)),
        ("t.u16", Value::U16(60000)),
        ("t.i16", Value::I16(-30000)),
        ("t.u32", Value::U32(4_000_000_000)),
        ("t.i32", Value::I32(-2_000_000_000)),
        ("t.f32", Value::F32(0.5)),
        ("t.bool", Value::Bool(true)),
        ("t.string", text("été")),
        ("t.ints", ints(&[1, 2, 3])),
        ("t.strings", Value::strings(["a", "bc"])),
        ("t.nested", Value::Array(ValueType::Array, vec![ints(&[1, 2]), ints(&[3])])),
        ("t.u64", Value::U64(1 << 63)),
        ("t.i64", Value::I64(-(1 << 62))),
        ("t.f64", Value::F64(0.25)),
    ];
    for (key, value) in &wanted {
        assert_eq!(gguf.get(key), Some(value), "{key}");
    }
    assert_eq!(gguf.metadata().len(), wanted.len());
    let expected: Vec<f32> = (0..64).map(|i| i as f32 / 8.0 - 4.0).collect();
    let file = gguf.tensors();
    assert_eq!(file.find("single").unwrap().shape, [2, 32]);
    assert_eq!(values(file, "single"), expected);
    assert_eq!(values(file, "brain"), expected);
    assert_eq!(values(file, "half"), [&expected[..3], &expected[32..35]].concat());
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 4.0 / 127.0;
    assert!(values(file, "eighth").iter().zip(&expected).all(close));
}

type Metadata = Vec<(String, Value)>;

/// Metadata of every type, and three tensors, written to a file.
fn written(path: &std::path::Path) -> (Metadata, Vec<(TensorSpec, Vec<u8>)>) {
    let list = |items: Vec<Value>| Value::Array(items[0].kind(), items);
    let nested =
        Value::Array(ValueType::Array, vec![Value::strings(["x"]), Value::strings([""; 0])]);
    let values = [
        Value::U8(1),
        Value::I8(-1),
        Value::U16(2),
        Value::I16(-2),
        Value::U32(3),
        Value::I32(-3),
        Value::F32(0.5),
        Value::Bool(true),
        Value::String("日本".to_owned()),
        list(vec![Value::U64(7), Value::U64(8)]),
        nested,
        Value::U64(u64::MAX),
        Value::I64(i64::MIN),
        Value::F64(0.25),
    ];
    let metadata: Vec<_> =
        values.into_iter().enumerate().map(|(i, v)| (format!("key.{i}"), v)).collect();
    let tensor = |name: &str, dtype: DType, shape: &[usize]| {
        let len = shape.iter().product::<usize>() * dtype.bytes();
        let spec = TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() };
        (spec, (0..len).map(|i| (i * 7 % 251) as u8).collect::<Vec<u8>>())
    };
    let tensors = vec![
        tensor("z.weight", DType::F16, &[5, 3, 1, 1]),
        tensor("a.weight", DType::F32, &[17]),
        tensor("m.bias", DType::BF16, &[2, 2, 2]),
    ];
    let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = GgufWriter::create(path, &metadata, specs).unwrap();
    for (spec, bytes) in &tensors {
        writer.tensor(&TensorView::new(spec.dtype, &spec.shape, bytes).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    (metadata, tensors)
}

#[test]
fn gguf_reads_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let (metadata, tensors) = written(&path);
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.metadata()[..metadata.len()], metadata);
    for ((spec, bytes), stored) in tensors.iter().zip(gguf.tensors().tensors()) {
        assert_eq!((&stored.name, &stored.shape), (&spec.name, &spec.shape));
        assert_eq!(stored.range.start % 64, 0, "tensors are aligned");
        assert_eq!(gguf.tensors().view_of(stored).unwrap().bytes(), bytes);
    }
    gguf.verify().unwrap();
}

#[test]
fn a_flipped_bit_of_a_tensor_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    written(&path);
    let start = Gguf::open(&path).unwrap().tensors().find("a.weight").unwrap().range.start;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[start + 11] ^= 4;
    let gguf = Gguf::parse("a.gguf", FileBytes::Owned(Arc::from(bytes))).unwrap();
    let error = gguf.verify().unwrap_err().to_string();
    assert!(error.contains("a.weight") && error.contains("damaged"), "{error}");
}

#[test]
fn a_writer_refuses_what_its_table_does_not_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let spec = TensorSpec { name: "w".to_owned(), dtype: DType::F32, shape: vec![2] };
    let mut writer = GgufWriter::create(&path, &[], vec![spec.clone()]).unwrap();
    let half = TensorView::new(DType::F16, &[2], &[0; 4]).unwrap();
    assert!(writer.tensor(&half).unwrap_err().to_string().contains("'w'"));
    assert!(writer.finish().unwrap_err().to_string().contains("never written"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    let huge = TensorSpec { shape: vec![usize::MAX, 2], ..spec };
    assert!(GgufWriter::create(&path, &[], vec![huge]).is_err());
}
