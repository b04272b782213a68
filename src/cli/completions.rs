//! `pochade completions`: what a shell needs to know to complete the command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Console};

/// Which shell to tell.
#[derive(Clone, Copy, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// Prints the script of a shell.
pub(super) fn completions(args: CompletionsArgs, console: &mut Console<'_>) -> anyhow::Result<()> {
    // The generator gives up where it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pochade", &mut script);
    Ok(console.out.write_all(&script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_is_told_every_command_and_its_arguments() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            let (mut notes, args) = (Vec::new(), CompletionsArgs { shell });
            let (out, notes) = (&mut script, &mut notes);
            let mut console = Console { out, notes, pictures: None, columns: 80 };
            completions(args, &mut console).unwrap();
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
                for long in command.get_arguments().filter_map(clap::Arg::get_long) {
                    assert!(script.contains(long), "{shell}: {} --{long}", command.get_name());
                }
            }
        }
    }

    #[test]
    fn the_manual_has_every_command() {
        let manual = include_str!("../../deploy/debian/pochade.1").replace('\\', "");
        for command in Cli::command().get_subcommands() {
            let named = format!(".B {}", command.get_name());
            assert!(manual.contains(&named), "{}", command.get_name());
        }
    }
}
