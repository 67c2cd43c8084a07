//! The least of an ELF object that depmod takes for a module: strings in `.modinfo`, names of
//! exported symbols in `__ksymtab_strings`, and a symbol table with what is used.

use ondisk::width::u64_of;

pub(crate) fn module(name: &str, exports: &[&str], uses: &[&str], modinfo: &[&str]) -> Vec<u8> {
    let info = strings(
        modinfo
            .iter()
            .copied()
            .chain([&*format!("name={}", name.replace('-', "_"))]),
    );
    let exported = strings(exports.iter().copied());
    let mut names = vec![0];
    let mut symbols = vec![0; SYMBOL];
    for name in uses {
        symbols.extend(u32::try_from(names.len()).unwrap().to_le_bytes());
        // global, no type; section 0 is "undefined"
        symbols.extend([0x10, 0, 0, 0]);
        symbols.extend([0; 16]);
        names.extend(name.as_bytes());
        names.push(0);
    }
    let sections: [(&str, u32, &[u8], u32, u64); 5] = [
        (".modinfo", PROGBITS, &info, 0, 0),
        ("__ksymtab_strings", PROGBITS, &exported, 0, 0),
        (".strtab", STRTAB, &names, 0, 0),
        (".symtab", SYMTAB, &symbols, 3, 24),
        (".shstrtab", STRTAB, SECTION_NAMES, 0, 0),
    ];
    let mut file = vec![0; HEADER];
    let mut headers = vec![0; SECTION];
    for (name, kind, data, link, entry) in sections {
        file.resize(file.len().next_multiple_of(8), 0);
        let name = SECTION_NAMES
            .windows(name.len())
            .position(|window| window == name.as_bytes())
            .unwrap();
        headers.extend(u32::try_from(name).unwrap().to_le_bytes());
        headers.extend(kind.to_le_bytes());
        headers.extend([0; 16]);
        headers.extend((u64_of(file.len())).to_le_bytes());
        headers.extend((u64_of(data.len())).to_le_bytes());
        headers.extend(link.to_le_bytes());
        headers.extend(1_u32.to_le_bytes());
        headers.extend(8_u64.to_le_bytes());
        headers.extend(u64::to_le_bytes(entry));
        file.extend(data);
    }
    file.resize(file.len().next_multiple_of(8), 0);
    let table = u64_of(file.len());
    file.extend(headers);
    // 64 bits, little-endian, relocatable, x86-64
    file[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
    file[16..20].copy_from_slice(&[1, 0, 62, 0]);
    file[20] = 1;
    file[40..48].copy_from_slice(&table.to_le_bytes());
    file[52] = 64;
    file[58..64].copy_from_slice(&[64, 0, 6, 0, 5, 0]);
    file
}

fn strings<'a>(strings: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    strings
        .into_iter()
        .flat_map(|string| string.bytes().chain([0]))
        .collect()
}

const HEADER: usize = 64;
const SECTION: usize = 64;
const SYMBOL: usize = 24;
const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const SECTION_NAMES: &[u8] = b"\0.modinfo\0__ksymtab_strings\0.strtab\0.symtab\0.shstrtab\0";
