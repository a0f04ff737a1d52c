//! `quorate completions`: what a shell needs to complete the command line.

use clap_complete::Shell;

use super::Failure;
use super::help;
use super::output::print_line;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  For bash; the next shell has it:
    quorate completions bash \\
      >~/.local/share/bash-completion/completions/quorate
  For zsh, with ~/.zfunc in its fpath:
    quorate completions zsh >~/.zfunc/_quorate
  For fish:
    quorate completions fish >~/.config/fish/completions/quorate.fish
")]
pub(super) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(), "quorate", &mut script);
    print_line(String::from_utf8_lossy(&script).trim_end())
}
