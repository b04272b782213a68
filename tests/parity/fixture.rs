//! Reading the fixtures that `tests/fixtures/make_nets.py` writes, and drawing what they leave out.

use std::collections::HashMap;
use std::path::Path;

use pochade::files::names::NameMap;
use pochade::files::{Config, FileError, TensorSource};
use pochade_engine::{DType, Engine, Graph, Plan, Session, Shape, TensorView, Value};
use serde_json::Value as Json;

/// The largest difference allowed for a network, relative to the largest value.
pub const NETWORK: f32 = 1e-5;
/// The same for sinusoids: angles up to 1000 are rounded to single precision, which moves them by
/// as much as 6e-5.
pub const SINUSOID: f32 = 6e-5;

/// One network's config, tensors' shapes and outputs.
pub struct Fixture {
    name: String,
    json: Json,
}

impl Fixture {
    pub fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nets");
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        Self { name: name.to_owned(), json: serde_json::from_str(&text).unwrap() }
    }

    pub fn config(&self) -> &Json {
        &self.json["config"]
    }

    /// All weights, drawn, by their canonical names.
    pub fn weights(&self, map: fn(Config<'_>) -> Result<NameMap, FileError>) -> Drawn {
        let map = map(Config::new(&self.name, self.config())).unwrap();
        let tensor = |(stored, drawn): (&String, &Json)| {
            let canonical = map.canonical(stored).unwrap_or_else(|| panic!("{stored} is unknown"));
            let [shape, exponent, offset] = [&drawn[0], &drawn[1], &drawn[2]];
            let shape: Vec<usize> = numbers(shape).iter().map(|&d| d as usize).collect();
            let offset = offset.as_f64().unwrap() as f32;
            let values = draw(stored, &shape, exponent.as_i64().unwrap() as i32, offset);
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (canonical, (shape, bytes))
        };
        let tensors = self.json["tensors"].as_object().unwrap().iter().map(tensor).collect();
        Drawn { origin: self.name.clone(), tensors }
    }

    /// The input `name`, drawn.
    pub fn drawn(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        draw(name, shape, 1, 0.0)
    }

    pub fn drawn_for(&self, name: &str, shape: Shape) -> Vec<f32> {
        self.drawn(name, &[shape.len()])
    }

    pub fn output(&self, name: &str) -> Vec<f32> {
        numbers(&self.json["outputs"][name]["values"])
    }

    pub fn flag(&self, field: &str) -> bool {
        self.json[field].as_bool().unwrap()
    }

    pub fn number(&self, field: &str) -> f64 {
        self.json[field].as_f64().unwrap()
    }

    pub fn numbers(&self, field: &str) -> Vec<f32> {
        numbers(&self.json[field])
    }

    pub fn optional_numbers(&self, field: &str) -> Option<Vec<f32>> {
        (!self.json[field].is_null()).then(|| self.numbers(field))
    }

    pub fn rows(&self, field: &str) -> Vec<Vec<f32>> {
        self.json[field].as_array().unwrap().iter().map(numbers).collect()
    }

    /// Batch, height and width of the latent, tokens of the context.
    pub fn extent(&self) -> [usize; 4] {
        let numbers: Vec<usize> = self.numbers("extent").iter().map(|&d| d as usize).collect();
        numbers.try_into().unwrap()
    }

    pub fn shape(&self, field: &str) -> Shape {
        let numbers = self.numbers(field);
        let [n, h, w, c] = std::array::from_fn(|i| numbers[i] as usize);
        Shape::image(n, h, w, c)
    }

    pub fn tokens(&self) -> Vec<Vec<u32>> {
        let row = |row: Vec<f32>| row.iter().map(|&token| token as u32).collect();
        self.rows("tokens").into_iter().map(row).collect()
    }
}

fn numbers(json: &Json) -> Vec<f32> {
    json.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

/// Drawn weights.
#[derive(Debug)]
pub struct Drawn {
    origin: String,
    tensors: HashMap<String, (Vec<usize>, Vec<u8>)>,
}

impl TensorSource for Drawn {
    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let (shape, bytes) = self.tensors.get(name)?;
        TensorView::new(DType::F32, shape, bytes)
    }

    fn origin(&self) -> &str {
        &self.origin
    }
}

/// `draw` of `make_nets.py`: uniform over offset +- 2^exponent in 2048 steps.
fn draw(name: &str, shape: &[usize], exponent: i32, offset: f32) -> Vec<f32> {
    let fnv = |seed: u64, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    let value = |i: usize| {
        let z = seed.wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let steps = ((z ^ (z >> 31)) >> 53) as f32 - 1024.0;
        steps / 1024.0 * 2.0_f32.powi(exponent) + offset
    };
    (0..shape.iter().product()).map(value).collect()
}

/// Inputs and their values.
pub type Given = Vec<(Value, Vec<f32>)>;

/// Plans `g`, runs it once on one thread and returns `output`. `given` are the inputs of setup, of
/// the schedule and of the run.
pub fn run(g: &Graph, given: [&Given; 3], output: Value) -> Vec<f32> {
    let [setup, schedule, step] = given.map(|inputs| borrow(inputs));
    let mut engine = Engine::new(Some(1)).unwrap();
    let mut session = Session::new(&engine, Plan::new(g).unwrap());
    session.setup(&mut engine, &setup);
    session.reserve_table(1);
    session.tabulate(&mut engine, 0, &schedule);
    session.run(&mut engine, &step);
    session.output(output).to_vec()
}

fn borrow(given: &[(Value, Vec<f32>)]) -> Vec<(Value, &[f32])> {
    given.iter().map(|(value, data)| (*value, data.as_slice())).collect()
}

/// Asserts that no value differs by more than `tolerance`, and prints by how much they do.
pub fn assert_close(what: &str, found: &[f32], wanted: &[f32], tolerance: f32) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let largest = wanted.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
    let difference = found.iter().zip(wanted).map(|(a, b)| (a - b).abs());
    let error =
        difference.fold(0.0_f32, |max, d| if d.is_nan() { d } else { max.max(d) }) / largest;
    println!("{what}: relative error {error:.1e}");
    assert!(error <= tolerance, "{what}: relative error {error:.1e}");
}
