//! Whether an ELF file can run in an image that holds nothing else.
//!
//! A binary that names an interpreter (the dynamic linker) cannot: neither it nor the libraries are there, and the kernel's
//! only word at start would be "no such file or directory". Nothing else of the format is read.

use std::fmt;

/// What the header of a file says about how it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Linkage {
    /// An ELF executable without an interpreter, for this machine.
    Static {
        /// The architecture, in the words of container images.
        machine: Machine,
    },
    /// Starts through this dynamic linker.
    Dynamic {
        /// Path of the interpreter, as the file names it.
        interpreter: String,
    },
    /// Not a 64-bit little-endian ELF executable.
    NotElf,
    /// ELF for a machine that images are not packed for (its `e_machine`).
    OtherMachine(u16),
}

/// The machines that images are packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// `x86_64`
    Amd64,
    /// `aarch64`
    Arm64,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        })
    }
}

/// `p_type` of the program header that names the interpreter.
const PT_INTERP: u32 = 3;
/// Size of a program header of 64-bit ELF.
const PROGRAM_HEADER: usize = 56;

/// Reads the ELF header and the program headers of `file`.
pub(crate) fn linkage(file: &[u8]) -> Linkage {
    // magic, 64-bit, little-endian
    if !file.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return Linkage::NotElf;
    }
    let (Some(machine), Some(table), Some(count)) = (u16_at(file, 18), u64_at(file, 32), u16_at(file, 56)) else {
        return Linkage::NotElf;
    };
    for index in 0..usize::from(count) {
        let Some(header) = usize::try_from(table).ok().and_then(|table| table.checked_add(index * PROGRAM_HEADER))
        else {
            return Linkage::NotElf;
        };
        if u32_at(file, header) == Some(PT_INTERP) {
            return Linkage::Dynamic {
                interpreter: interpreter(file, header).unwrap_or_else(|| "unreadable".to_owned()),
            };
        }
    }
    match machine {
        62 => Linkage::Static { machine: Machine::Amd64 },
        183 => Linkage::Static { machine: Machine::Arm64 },
        other => Linkage::OtherMachine(other),
    }
}

/// The NUL-terminated path in the segment of the program header at `header`.
fn interpreter(file: &[u8], header: usize) -> Option<String> {
    let start = usize::try_from(u64_at(file, header.checked_add(8)?)?).ok()?;
    let length = usize::try_from(u64_at(file, header.checked_add(32)?)?).ok()?;
    let path = file.get(start..start.checked_add(length)?)?;
    Some(String::from_utf8_lossy(path).trim_end_matches('\0').to_owned())
}

fn bytes_at<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(file: &[u8], at: usize) -> Option<u16> {
    bytes_at(file, at).map(u16::from_le_bytes)
}

fn u32_at(file: &[u8], at: usize) -> Option<u32> {
    bytes_at(file, at).map(u32::from_le_bytes)
}

fn u64_at(file: &[u8], at: usize) -> Option<u64> {
    bytes_at(file, at).map(u64::from_le_bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Linkage, Machine, linkage};

    /// The smallest file that `linkage` reads as ELF: a header, and one program header for an interpreter if one is given.
    pub(crate) fn elf(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
        let path = interpreter.map(|path| [path.as_bytes(), b"\0"].concat());
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1];
        file.resize(18, 0);
        file.extend(machine.to_le_bytes());
        file.resize(32, 0);
        file.extend(64_u64.to_le_bytes());
        file.resize(56, 0);
        file.extend(u16::from(path.is_some()).to_le_bytes());
        file.resize(64, 0);
        if let Some(path) = path {
            file.extend(3_u32.to_le_bytes());
            file.resize(64 + 8, 0);
            file.extend(120_u64.to_le_bytes());
            file.resize(64 + 32, 0);
            file.extend((path.len() as u64).to_le_bytes());
            file.resize(120, 0);
            file.extend(path);
        }
        file
    }

    #[test]
    fn a_file_without_interpreter_is_static() {
        assert_eq!(linkage(&elf(62, None)), Linkage::Static { machine: Machine::Amd64 });
        assert_eq!(linkage(&elf(183, None)), Linkage::Static { machine: Machine::Arm64 });
    }

    #[test]
    fn a_dynamic_file_names_its_interpreter() {
        let expected = Linkage::Dynamic { interpreter: "/lib64/ld-linux-x86-64.so.2".to_owned() };
        assert_eq!(linkage(&elf(62, Some("/lib64/ld-linux-x86-64.so.2"))), expected);
    }

    #[test]
    fn other_machines_and_other_files_are_told_apart() {
        assert_eq!(linkage(&elf(243, None)), Linkage::OtherMachine(243));
        assert_eq!(linkage(b"#!/bin/sh\n"), Linkage::NotElf);
        assert_eq!(linkage(b""), Linkage::NotElf);
    }

    #[test]
    fn a_file_cut_anywhere_is_read_without_panic() {
        let whole = elf(62, Some("/lib64/ld-linux-x86-64.so.2"));
        for end in 0..whole.len() {
            let _ = linkage(whole.get(..end).unwrap_or_default());
        }
    }

    #[test]
    fn this_test_itself_is_read_as_what_it_is() -> std::io::Result<()> {
        let own = std::fs::read(std::env::current_exe()?)?;
        let linkage = linkage(&own);
        if cfg!(target_feature = "crt-static") {
            assert!(matches!(linkage, Linkage::Static { .. }), "{linkage:?}");
        } else {
            assert!(matches!(linkage, Linkage::Dynamic { .. }), "{linkage:?}");
        }
        Ok(())
    }
}
