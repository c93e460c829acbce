//! The files whose code a process runs, where they are in its memory, and how to unwind through them.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use framehop::ExplicitModuleSectionInfo;
use object::elf::PF_X;
use object::read::{ReadCache, ReadRef};
use object::{Object, ObjectSection, ObjectSegment, SegmentFlags};
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};

/// The kernel's page of functions is some KiB; more is not read.
const VDSO_BYTES: u64 = 64 * 1024;

/// Sections of a file that unwinding takes.
pub(crate) type Sections = ExplicitModuleSectionInfo<Vec<u8>>;

/// A file with code.
#[derive(Debug)]
pub(crate) struct Module {
    /// Its last name, for people.
    pub(crate) name: String,
    /// Where to read it; `None`: it is no file.
    pub(crate) file: Option<PathBuf>,
    /// Where its code is in memory.
    pub(crate) range: Range<u64>,
    /// What has to be taken off an address in memory to have the one in the file.
    pub(crate) bias: u64,
    pub(crate) sections: Sections,
}

/// All of a process that can be read.
pub(crate) fn modules(process: i32) -> Vec<Module> {
    let Ok(there) = Process::new(process) else { return Vec::new() };
    let program = there.exe().ok();
    let maps = there.maps().map(|maps| maps.0).unwrap_or_default();
    let code = maps.iter().filter(|map| map.perms.contains(MMPermissions::EXECUTE));
    code.filter_map(|map| match &map.pathname {
        // It may have been replaced on the disk since it was started.
        MMapPath::Path(path) if Some(path) == program.as_ref() => of_file(map, PathBuf::from(format!("/proc/{process}/exe"))),
        MMapPath::Path(path) => of_file(map, path.clone()),
        MMapPath::Vdso => of_vdso(map, process),
        _ => None,
    })
    .collect()
}

fn of_file(map: &MemoryMap, file: PathBuf) -> Option<Module> {
    let cache = ReadCache::new(File::open(&file).ok()?);
    let (bias, sections) = parse(map, &cache)?;
    let name = match &map.pathname {
        MMapPath::Path(path) => path.file_name()?.to_string_lossy().into_owned(),
        _ => String::new(),
    };
    Some(Module { name, file: Some(file), range: map.address.0..map.address.1, bias, sections })
}

fn of_vdso(map: &MemoryMap, process: i32) -> Option<Module> {
    let length = map.address.1.checked_sub(map.address.0)?.min(VDSO_BYTES);
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    File::open(format!("/proc/{process}/mem")).ok()?.read_exact_at(&mut bytes, map.address.0).ok()?;
    let (bias, sections) = parse(map, &*bytes)?;
    Some(Module { name: "the kernel's vdso".into(), file: None, range: map.address.0..map.address.1, bias, sections })
}

fn parse<'a>(map: &MemoryMap, data: impl ReadRef<'a>) -> Option<(u64, Sections)> {
    let object = object::File::parse(data).ok()?;
    let bias = bias(map, &object)?;
    let data = |name| object.section_by_name(name)?.data().ok().map(<[u8]>::to_vec);
    let range = |name| object.section_by_name(name).map(|section| section.address()..section.address().saturating_add(section.size()));
    let sections = Sections {
        base_svma: 0,
        text_svma: range(".text"),
        got_svma: range(".got"),
        eh_frame_svma: range(".eh_frame"),
        eh_frame: data(".eh_frame"),
        eh_frame_hdr_svma: range(".eh_frame_hdr"),
        eh_frame_hdr: data(".eh_frame_hdr"),
        debug_frame: data(".debug_frame").filter(|data| !data.is_empty()),
        ..Sections::default()
    };
    Some((bias, sections))
}

/// Where the file begins in memory, as its addresses count: from the segment of code that was mapped, which begins with a page.
fn bias<'a>(map: &MemoryMap, object: &object::File<'a, impl ReadRef<'a>>) -> Option<u64> {
    let page = procfs::page_size();
    let is_mapped = |segment: &object::read::Segment<'a, '_, _>| {
        let (offset, size) = segment.file_range();
        let is_code = matches!(segment.flags(), SegmentFlags::Elf { p_flags } if p_flags & PF_X != 0);
        is_code && (offset / page * page..offset.saturating_add(size)).contains(&map.offset)
    };
    let mapped = object.segments().find(is_mapped)?;
    let address = mapped.address().wrapping_add(map.offset.wrapping_sub(mapped.file_range().0));
    Some(map.address.0.wrapping_sub(address))
}
