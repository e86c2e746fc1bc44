/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Objects of slab caches: which cache one is of, and the records of their tracepoints. */
#ifndef MEMTOOLS_SLAB_BPF_H
#define MEMTOOLS_SLAB_BPF_H

extern struct kmem_cache *bpf_get_kmem_cache(u64 address) __ksym __weak; /* 6.13 */

#if defined(__TARGET_ARCH_x86)
/* Where the kernel sees all memory, and where the descriptions of its pages lie. */
extern const void page_offset_base __ksym __weak;
extern const void vmemmap_base __ksym __weak;

#define PAGE_SHIFT 12

static u64 direct_map = 0;
static u64 page_descriptors = 0;

/* The words of a struct page. */
#define PAGE_WORDS 8

static __always_inline bool read_page(u64 *words, u64 page)
{
	return !bpf_probe_read_kernel(words, PAGE_WORDS * sizeof(u64), (const void *)page);
}

#define WORD_OF(words, offset) ((words)[((offset) / sizeof(u64)) & (PAGE_WORDS - 1)])

static __always_inline bool is_slab(const u64 *words)
{
	if (bpf_core_enum_value_exists(enum pageflags, PG_slab))
		return WORD_OF(words, bpf_core_field_offset(struct page, flags)) >>
			       bpf_core_enum_value(enum pageflags, PG_slab) &
		       1;
	if (bpf_core_enum_value_exists(enum pagetype, PGTY_slab)) {
		u32 offset = bpf_core_field_offset(struct page, page_type);
		u32 type = WORD_OF(words, offset) >> (offset & 4) * 8;

		return type >> 24 == bpf_core_enum_value(enum pagetype, PGTY_slab);
	}
	return false;
}

/* 0: not known. */
static __always_inline u64 first_page_descriptor(void)
{
	if (!page_descriptors && &vmemmap_base)
		bpf_probe_read_kernel(&page_descriptors, sizeof(page_descriptors), &vmemmap_base);
	return page_descriptors;
}

/*
 * By the description of the page that it lies in. Not inlined: offsets that this kernel has not
 * would be computed ahead of a loop.
 */
static __noinline u64 cache_by_page(u64 object)
{
	u64 words[PAGE_WORDS];
	u64 page, head;

	if (!direct_map && &page_offset_base)
		bpf_probe_read_kernel(&direct_map, sizeof(direct_map), &page_offset_base);
	if (!direct_map || !first_page_descriptor())
		return 0;
	if (object < direct_map || !bpf_core_field_exists(struct page, compound_head))
		return 0;
	page = page_descriptors +
	       ((object - direct_map) >> PAGE_SHIFT) * bpf_core_type_size(struct page);
	if (!read_page(words, page))
		return 0;
	head = WORD_OF(words, bpf_core_field_offset(struct page, compound_head));
	if (head & 1 && !read_page(words, head - 1))
		return 0;
	if (!is_slab(words))
		return 0;
#ifndef WITHOUT_SLAB_IN_PAGE
	if (bpf_core_field_exists(struct page___slab, slab_cache))
		return WORD_OF(words, bpf_core_field_offset(struct page___slab, slab_cache));
#endif
	if (bpf_core_field_exists(struct slab, slab_cache))
		return WORD_OF(words, bpf_core_field_offset(struct slab, slab_cache));
	return 0;
}
#else
static __always_inline u64 first_page_descriptor(void)
{
	return 0;
}

static __always_inline u64 cache_by_page(u64 object)
{
	return 0;
}
#endif

/* NULL, and what kmalloc(0) returns, are none. */
static __always_inline bool is_object(u64 address)
{
	return address > 16;
}

/* 0: none, or none that can be told. */
static __always_inline u64 cache_of(u64 object)
{
	if (!is_object(object))
		return 0;
	if (bpf_ksym_exists(bpf_get_kmem_cache))
		return (u64)bpf_get_kmem_cache(object);
	return cache_by_page(object);
}

/* What tracefs describes begins alike for all that comes and goes. */
struct kmem_record {
	u64 common;
	u64 call_site;
	u64 object;
};

#endif
