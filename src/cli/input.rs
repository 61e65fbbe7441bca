//! Files of lines, packed or not.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;

use crate::model::limits;

/// The lines of several files, one after the other, each with where it stands.
pub struct Lines {
    files: std::collections::VecDeque<PathBuf>,
    open: Option<Open>,
    /// Bytes of the files read so far, packed as they lie on disk.
    progress: indicatif::ProgressBar,
}

struct Open {
    path: Arc<Path>,
    reader: Box<dyn BufRead>,
    line: u64,
}

/// One line and where it stands.
pub struct Line {
    pub bytes: Vec<u8>,
    pub path: Arc<Path>,
    pub number: u64,
}

impl Lines {
    /// Opens nothing yet. Progress shows on a terminal.
    pub fn of(files: &[PathBuf]) -> Self {
        let total = files.iter().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum();
        Self { files: files.iter().cloned().collect(), open: None, progress: bar(total) }
    }

    /// As [`Lines::of`], showing no progress.
    pub fn quietly(files: &[PathBuf]) -> Self {
        Self { files: files.iter().cloned().collect(), open: None, progress: indicatif::ProgressBar::hidden() }
    }

    fn read(&mut self) -> anyhow::Result<Option<Line>> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(path) = self.files.pop_front() else { return Ok(None) };
                let reader = unpacked(&path, &self.progress)?;
                self.open = Some(Open { path: path.into(), reader, line: 0 });
                continue;
            };
            let mut bytes = Vec::new();
            let limit = limits::PAYLOAD_BYTES as u64 + 2;
            let read = open.reader.by_ref().take(limit).read_until(b'\n', &mut bytes);
            let read = read.with_context(|| format!("{}: line {}", open.path.display(), open.line + 1))?;
            if read == 0 {
                self.open = None;
                continue;
            }
            open.line += 1;
            if bytes.ends_with(b"\n") {
                bytes.pop();
            } else if read as u64 == limit {
                skip_line(&mut open.reader)?;
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return Ok(Some(Line { bytes, path: Arc::clone(&open.path), number: open.line }));
        }
    }
}

impl Iterator for Lines {
    type Item = anyhow::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.progress.finish_and_clear();
    }
}

/// The rest of a line that is longer than we read.
fn skip_line(reader: &mut dyn BufRead) -> std::io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// Whether a file's name stands for standard input.
pub fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// A file's content, unpacked by its ending.
fn unpacked(path: &Path, progress: &indicatif::ProgressBar) -> anyhow::Result<Box<dyn BufRead>> {
    if is_standard_input(path) {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let file = progress.wrap_read(file);
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(BufReader::new(file)))),
        Some("zst") => Box::new(BufReader::new(zstd::Decoder::new(file).with_context(|| path.display().to_string())?)),
        _ => Box::new(BufReader::with_capacity(1 << 18, file)),
    })
}

fn bar(total: u64) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template("{wide_bar} {percent:>3} %  {eta} left");
    let bar = indicatif::ProgressBar::new(total);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
