//! A gate that every finished picture must pass: a program of the owner's, which looks at the file.
//!
//! It is started once for every picture, reads the PNG file from its standard input, and lets it pass
//! by ending with status 0.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long it may look at a picture.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it is done.
const LOOK: Duration = Duration::from_millis(20);

/// A program that looks at pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The program, and what it is called with.
    command: Vec<String>,
    patience: Duration,
}

/// Why a picture is not shown.
#[derive(Debug)]
pub enum GateError {
    /// The program did not let it pass.
    Closed(ExitStatus),
    /// The program could not be asked: pictures do not pass a gate that nobody keeps.
    Broken {
        /// The program.
        program: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(status) => {
                write!(f, "the picture was not let pass by the gate of [safety] ({status})")
            }
            Self::Broken { program, reason } => {
                write!(f, "[safety] gate '{}': {reason}", program.display())
            }
        }
    }
}

impl std::error::Error for GateError {}

impl Gate {
    /// A gate kept by a program with its arguments.
    ///
    /// # Errors
    /// A sentence, when none is named.
    pub fn new(command: Vec<String>) -> Result<Self, String> {
        match command.first().map(String::as_str) {
            None | Some("") => Err("[safety] gate: name a program and its arguments".to_owned()),
            Some(_) => Ok(Self { command, patience: PATIENCE }),
        }
    }

    /// Asks whether a picture may be seen.
    ///
    /// # Errors
    /// When it may not, or the program cannot be asked.
    pub fn pass(&self, file: &[u8]) -> Result<(), GateError> {
        let status = self.ask(file).map_err(|reason| GateError::Broken {
            program: PathBuf::from(&self.command[0]),
            reason,
        })?;
        if status.success() { Ok(()) } else { Err(GateError::Closed(status)) }
    }

    fn ask(&self, file: &[u8]) -> Result<ExitStatus, String> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().map_err(|e| format!("cannot be started: {e}"))?;
        let mut input = child.stdin.take();
        std::thread::scope(|scope| {
            // One that has seen enough need not read it all.
            scope.spawn(move || input.as_mut().map(|input| input.write_all(file)));
            wait(&mut child, self.patience)
        })
    }
}

/// Waits for a program to end, and ends it when its time is over.
fn wait(child: &mut Child, patience: Duration) -> Result<ExitStatus, String> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if begun.elapsed() < patience => std::thread::sleep(LOOK),
            Ok(None) => {
                child.kill().and_then(|()| child.wait()).map_err(|e| e.to_string())?;
                return Err(format!("did not come to an end within {} s", patience.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(script: &str) -> Gate {
        Gate::new(["sh", "-c", script].map(str::to_owned).to_vec()).unwrap()
    }

    #[test]
    fn the_program_reads_the_file_and_decides() {
        assert!(gate("grep -q fine").pass(b"a fine picture").is_ok());
        let error = gate("grep -q fine").pass(b"another").unwrap_err();
        assert!(matches!(error, GateError::Closed(_)), "{error}");
        let large = vec![7; 1 << 20];
        assert!(gate("exit 0").pass(&large).is_ok(), "which does not read it");
        assert!(gate("test $(wc -c) = 1048576").pass(&large).is_ok());
    }

    #[test]
    fn nothing_passes_a_gate_that_nobody_keeps() {
        let none = Gate::new(vec!["/none/such".to_owned()]).unwrap();
        let error = none.pass(b"x").unwrap_err().to_string();
        assert!(error.starts_with("[safety] gate '/none/such': cannot be started"), "{error}");
        let slow = Gate { patience: Duration::from_millis(50), ..gate("exec sleep 60") };
        let error = slow.pass(b"x").unwrap_err().to_string();
        assert!(error.contains("did not come to an end"), "{error}");
        assert!(Gate::new(Vec::new()).is_err());
    }
}
