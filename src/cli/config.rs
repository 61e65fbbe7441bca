//! `muckwatch config`: what `serve` would start with.

use std::process::ExitCode;

use clap::Subcommand;

use super::serve::ServeArgs;

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Read the settings as `serve` would and say every problem; exit status 1 when there is one
    Check(ServeArgs),
    /// Every setting as it holds, with the file and line, variable or option that set it; passwords are not shown
    Show(ServeArgs),
}

/// Checks or shows; 1 when the settings cannot be used.
pub fn run(command: ConfigCommand) -> ExitCode {
    let (args, is_show) = match command {
        ConfigCommand::Check(args) => (args, false),
        ConfigCommand::Show(args) => (args, true),
    };
    let loaded = match args.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            say!("muckwatch: failed to {error}");
            return ExitCode::FAILURE;
        }
    };
    loaded.warnings.iter().for_each(|warning| say!("muckwatch: {warning}"));
    if is_show {
        for setting in &loaded.settings {
            out!("{} = {}  # {}", setting.key, setting.value, setting.origin);
        }
    } else {
        let set = loaded.settings.iter().filter(|setting| setting.origin != "the defaults").count();
        out!("{} settings, {set} of them set; all can be used", loaded.settings.len());
    }
    ExitCode::SUCCESS
}
