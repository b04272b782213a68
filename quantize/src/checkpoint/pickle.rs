//! A pickle machine that builds tensors and nothing else.
//!
//! It has the stack, the marks and the memo of Python's, and values that only describe: a call is
//! looked up among the few that tensors are made of, and never made. Leftovers of training programs
//! (callbacks, settings, scalars) become a value without content; a call of anything else is
//! refused by its name.

use std::collections::HashMap;

use super::storage::{Kind, Storage, Tensor};

/// The largest pickle that is read. Stable Diffusion XL's table takes less than one megabyte.
const PICKLE_CAP: usize = 64 << 20;
/// The most instructions that are followed, which bounds what they can make.
const STEP_CAP: usize = 1 << 20;
/// More dimensions than any tensor has.
const DIMENSION_CAP: usize = 16;

/// What checkpoints of training programs call beside what makes tensors. It is not called, and
/// nothing is made of it. A name that ends in a dot stands for all below it.
const LEFTOVERS: [&str; 22] = [
    "_codecs.encode",
    "argparse.Namespace",
    "builtins.frozenset",
    "builtins.set",
    "collections.Counter",
    "collections.defaultdict",
    "collections.deque",
    "datetime.timedelta",
    "lightning.",
    "lightning_fabric.",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "omegaconf.",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pytorch_lightning.",
    "torch.Size",
    "torch.device",
    "torch.torch_version.TorchVersion",
];

/// What is on the stack. Lists, dictionaries and what else can change are numbers of objects.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    None,
    Int(i64),
    Text(&'a str),
    Object(usize),
    /// Anything that no tensor is made of.
    Other,
}

#[derive(Clone, Debug)]
enum Object<'a> {
    /// A tuple, a list or a set.
    Items(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// Something that can be called, by its full name.
    Global(String),
    Storage(Storage),
    Tensor(Tensor),
}

/// What a pickle described, whole.
#[derive(Debug)]
pub(super) struct Root<'a> {
    value: Value<'a>,
    objects: Vec<Object<'a>>,
}

/// Follows one pickle at the beginning of `bytes`; also says how long it was.
pub(super) fn read(bytes: &[u8]) -> Result<(Root<'_>, usize), String> {
    let bytes = &bytes[..bytes.len().min(PICKLE_CAP)];
    let mut machine = Machine { bytes, ..Machine::default() };
    for _ in 0..STEP_CAP {
        let at = machine.at;
        let wrong = |e: String| format!("the pickle at byte {at}: {e}");
        if let Some(value) = machine.step().map_err(wrong)? {
            return Ok((Root { value, objects: machine.objects }, machine.at));
        }
    }
    Err(format!("the pickle has more than {STEP_CAP} instructions"))
}

impl Root<'_> {
    /// The named tensors: those of the table `state_dict`, or of the outermost one.
    pub fn tensors(&self) -> Result<Vec<Tensor>, String> {
        let outer = self.dict(self.value).unwrap_or_default();
        let inner = outer.iter().find_map(|(key, value)| match key {
            Value::Text("state_dict") => self.dict(*value),
            _ => None,
        });
        let entries = inner.unwrap_or(outer).iter();
        let tensors: Vec<Tensor> =
            entries.filter_map(|(key, value)| self.tensor(*key, *value)).collect();
        if tensors.is_empty() {
            return Err("holds no table of tensors ('state_dict')".to_owned());
        }
        Ok(tensors)
    }

    /// The texts of a list.
    pub fn texts(&self) -> Vec<String> {
        let Value::Object(id) = self.value else { return Vec::new() };
        let Object::Items(items) = &self.objects[id] else { return Vec::new() };
        let text = |value: &Value<'_>| match value {
            Value::Text(text) => Some((*text).to_owned()),
            _ => None,
        };
        items.iter().filter_map(text).collect()
    }

    fn dict(&self, value: Value<'_>) -> Option<&[(Value<'_>, Value<'_>)]> {
        let Value::Object(id) = value else { return None };
        match &self.objects[id] {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    fn tensor(&self, key: Value<'_>, value: Value<'_>) -> Option<Tensor> {
        let (Value::Text(name), Value::Object(id)) = (key, value) else { return None };
        match &self.objects[id] {
            Object::Tensor(tensor) => Some(Tensor { name: name.to_owned(), ..tensor.clone() }),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Value<'a>>,
    objects: Vec<Object<'a>>,
}

impl<'a> Machine<'a> {
    /// Follows one instruction; the last one leaves the whole.
    fn step(&mut self) -> Result<Option<Value<'a>>, String> {
        let code = self.take(1)?[0];
        match code {
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.pop_or_mark(),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'b' | b'i' | b'o' | b'Q' => self.call_code(code)?,
            b'g' | b'h' | b'j' | b'p' | b'q' | b'r' | 0x94 => self.memo_code(code)?,
            b')' | b't' | 0x85..=0x87 | b']' | b'l' | b'}' | b'd' | 0x8f | 0x91 => {
                self.collection_code(code)?;
            }
            b'a' | b'e' | b's' | b'u' | 0x90 => self.fill_code(code)?,
            _ => {
                let value = self.plain(code)?;
                self.stack.push(value);
            }
        }
        Ok(None)
    }

    /// Numbers, texts and the like.
    fn plain(&mut self, code: u8) -> Result<Value<'a>, String> {
        Ok(match code {
            b'N' => Value::None,
            0x88 | 0x89 => Value::Other,
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            b'K' => Value::Int(self.number(1)? as i64),
            b'M' => Value::Int(self.number(2)? as i64),
            b'I' | b'L' => self.written_number()?,
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            b'G' => self.skip(8)?,
            b'F' => {
                self.line()?;
                Value::Other
            }
            b'X' | b'T' => self.text(4)?,
            0x8c | b'U' => self.text(1)?,
            0x8d => self.text(8)?,
            b'V' => Value::Text(self.line()?),
            b'S' => Value::Text(self.line()?.trim_matches(['\'', '"'])),
            b'B' => self.counted(4).map(|_| Value::Other)?,
            b'C' => self.counted(1).map(|_| Value::Other)?,
            0x8e | 0x96 => self.counted(8).map(|_| Value::Other)?,
            _ => return Err(format!("instruction {code:#04x} is not one that checkpoints have")),
        })
    }

    fn call_code(&mut self, code: u8) -> Result<(), String> {
        let value = match code {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.make(Object::Global(format!("{module}.{name}")))
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => {
                    self.make(Object::Global(format!("{module}.{name}")))
                }
                _ => return Err("names a function by what is no text".to_owned()),
            },
            b'Q' => {
                let id = self.pop()?;
                self.storage(id)?
            }
            b'b' => {
                // A state is left out: what it would be put into is a description already.
                self.pop()?;
                return Ok(());
            }
            b'i' => return Err(format!("calls {}.{}", self.line()?, self.line()?)),
            b'o' => return Err("makes an object in a way that PyTorch does not".to_owned()),
            _ => {
                if code == 0x92 {
                    self.pop()?;
                }
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments)?
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// What a call would make, of those that are known.
    fn call(&mut self, function: Value<'a>, arguments: Value<'a>) -> Result<Value<'a>, String> {
        let Value::Object(id) = function else {
            // What stands for a leftover may be called too: it stays one.
            return match function {
                Value::Other => Ok(Value::Other),
                _ => Err("calls what is no function".to_owned()),
            };
        };
        let Object::Global(name) = &self.objects[id] else {
            return Err("calls what is no function".to_owned());
        };
        let name = name.replacen("__builtin__.", "builtins.", 1);
        match name.as_str() {
            "collections.OrderedDict" | "builtins.dict" => Ok(self.make(Object::Dict(Vec::new()))),
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
                let tensor = self.tensor(arguments).ok_or("describes a tensor that is none")?;
                Ok(self.make(Object::Tensor(tensor)))
            }
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                let first = self.items(arguments).and_then(|items| items.first());
                first.copied().ok_or_else(|| "describes a parameter that is none".to_owned())
            }
            _ if is_leftover(&name) => Ok(Value::Other),
            _ => Err(format!(
                "calls {name}, which builds no tensor: this file may be meant to do harm, and \
                 nothing of it was run"
            )),
        }
    }

    /// A tensor from `(storage, offset, shape, strides, ..)`.
    fn tensor(&self, arguments: Value<'a>) -> Option<Tensor> {
        let &[storage, offset, shape, strides, ..] = self.items(arguments)? else { return None };
        let (Value::Object(id), Value::Int(offset)) = (storage, offset) else { return None };
        let Object::Storage(storage) = &self.objects[id] else { return None };
        let extents = |value| {
            let items = self.items(value).filter(|items| items.len() <= DIMENSION_CAP)?;
            let extent = |value: &Value<'_>| match value {
                Value::Int(n) => usize::try_from(*n).ok(),
                _ => None,
            };
            items.iter().map(extent).collect::<Option<Vec<usize>>>()
        };
        Some(Tensor {
            name: String::new(),
            storage: storage.clone(),
            offset: usize::try_from(offset).ok()?,
            shape: extents(shape)?,
            strides: extents(strides)?,
        })
    }

    /// A storage from `('storage', class, key, device, count, ..)`.
    fn storage(&mut self, id: Value<'a>) -> Result<Value<'a>, String> {
        let Some(&[Value::Text("storage"), Value::Object(class), Value::Text(key), ..]) =
            self.items(id)
        else {
            return Err("refers to something outside that is no storage".to_owned());
        };
        let Object::Global(name) = &self.objects[class] else {
            return Err("has a storage without a class".to_owned());
        };
        let class = name.strip_prefix("torch.").map(|name| name.trim_start_matches("storage."));
        let kind = class.and_then(Kind::of).ok_or_else(|| format!("has a storage of {name}"))?;
        Ok(self.make(Object::Storage(Storage { kind, key: key.to_owned() })))
    }

    fn memo_code(&mut self, code: u8) -> Result<(), String> {
        let number = match code {
            b'g' | b'p' => self.line()?.trim().parse().map_err(|_| "has a memo without number")?,
            b'h' | b'q' => self.number(1)?,
            b'j' | b'r' => self.number(4)?,
            _ => self.memo.len() as u64,
        };
        if matches!(code, b'g' | b'h' | b'j') {
            let value = self.memo.get(&number).copied();
            self.stack.push(value.ok_or_else(|| format!("has no memo {number}"))?);
        } else {
            let top = self.top()?;
            self.memo.insert(number, top);
        }
        Ok(())
    }

    /// Makes a tuple, list, set or dictionary.
    fn collection_code(&mut self, code: u8) -> Result<(), String> {
        let object = match code {
            b')' | b']' | 0x8f => Object::Items(Vec::new()),
            b'}' => Object::Dict(Vec::new()),
            0x85..=0x87 => Object::Items(self.pop_many(usize::from(code - 0x84))?),
            b'd' => Object::Dict(pairs(&self.pop_to_mark()?)),
            _ => Object::Items(self.pop_to_mark()?),
        };
        let value = self.make(object);
        self.stack.push(value);
        Ok(())
    }

    /// Puts values into the collection below them.
    fn fill_code(&mut self, code: u8) -> Result<(), String> {
        let values = match code {
            b'a' => self.pop_many(1)?,
            b's' => self.pop_many(2)?,
            _ => self.pop_to_mark()?,
        };
        let Value::Object(id) = self.top()? else { return Ok(()) };
        match &mut self.objects[id] {
            Object::Items(items) => items.extend(values),
            Object::Dict(entries) => entries.extend(pairs(&values)),
            // Leftovers lose their content.
            Object::Global(_) | Object::Storage(_) | Object::Tensor(_) => {}
        }
        Ok(())
    }

    fn make(&mut self, object: Object<'a>) -> Value<'a> {
        self.objects.push(object);
        Value::Object(self.objects.len() - 1)
    }

    fn items(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        let Value::Object(id) = value else { return None };
        match &self.objects[id] {
            Object::Items(items) => Some(items),
            _ => None,
        }
    }

    /// Where the stack may be popped to: what lies below a mark is not for what is above it.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Value<'a>, String> {
        let top = self.stack.last().filter(|_| self.stack.len() > self.floor());
        top.copied().ok_or_else(|| "takes from an empty stack".to_owned())
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_or_mark(&mut self) {
        if self.stack.len() > self.floor() {
            self.stack.pop();
        } else {
            self.marks.pop();
        }
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value<'a>>, String> {
        let from = self.stack.len().checked_sub(count).filter(|&from| from >= self.floor());
        Ok(self.stack.split_off(from.ok_or("takes from an empty stack")?))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, String> {
        let mark = self.marks.pop().ok_or("has no mark")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(len);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or("is cut short")?;
        self.at += len;
        Ok(taken)
    }

    fn skip(&mut self, len: usize) -> Result<Value<'a>, String> {
        self.take(len).map(|_| Value::Other)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn number(&mut self, len: usize) -> Result<u64, String> {
        Ok(self.take(len)?.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    /// Bytes behind a count that takes `len` bytes.
    fn counted(&mut self, len: usize) -> Result<&'a [u8], String> {
        let count = self.number(len)?;
        self.take(usize::try_from(count).map_err(|_| "is cut short")?)
    }

    fn text(&mut self, len: usize) -> Result<Value<'a>, String> {
        Ok(std::str::from_utf8(self.counted(len)?).map_or(Value::Other, Value::Text))
    }

    /// A number of any length, of which those beyond 64 bits mean nothing here.
    fn long(&mut self, len: usize) -> Result<Value<'a>, String> {
        let bytes = self.counted(len)?;
        if bytes.len() > 8 {
            return Ok(Value::Other);
        }
        let sign = if bytes.last().is_some_and(|byte| *byte >= 0x80) { -1 } else { 0 };
        Ok(Value::Int(bytes.iter().rev().fold(sign, |n, byte| n << 8 | i64::from(*byte))))
    }

    fn written_number(&mut self) -> Result<Value<'a>, String> {
        let digits = self.line()?.trim_end_matches('L');
        Ok(digits.parse().map_or(Value::Other, Value::Int))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|byte| *byte == b'\n').ok_or("is cut short")?;
        self.at += len + 1;
        std::str::from_utf8(&rest[..len]).map_err(|_| "has a name that is not UTF-8".to_owned())
    }
}

/// Keys and values in turn; a last key without value is dropped.
fn pairs<'a>(values: &[Value<'a>]) -> Vec<(Value<'a>, Value<'a>)> {
    values.as_chunks::<2>().0.iter().map(|[key, value]| (*key, *value)).collect()
}

fn is_leftover(name: &str) -> bool {
    let fits = |known: &str| name == known || known.ends_with('.') && name.starts_with(known);
    LEFTOVERS.iter().any(|known| fits(known))
}
