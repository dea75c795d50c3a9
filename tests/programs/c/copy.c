/* The three variants, as a library or a part of a program. */

#include "copy.h"
#include <immintrin.h>
#include <invar-ifunc.h>

unsigned long mylib_ran[3];

static void *copy_anywhere(void *to, const void *from, size_t length)
{
	size_t at;

	mylib_ran[0]++;
	for (at = 0; at < length; at++)
		((volatile char *)to)[at] = ((const char *)from)[at];
	return to;
}

__attribute__((target("avx2"))) static void *copy_avx2(void *to, const void *from, size_t length)
{
	size_t at = 0;

	mylib_ran[1]++;
	for (; at + 32 <= length; at += 32)
		_mm256_storeu_si256((__m256i *)((char *)to + at), _mm256_loadu_si256((const __m256i *)((const char *)from + at)));
	for (; at < length; at++)
		((volatile char *)to)[at] = ((const char *)from)[at];
	return to;
}

__attribute__((target("avx512f,avx512bw"))) static void *copy_avx512(void *to, const void *from, size_t length)
{
	size_t at;

	mylib_ran[2]++;
	for (at = 0; at < length; at += 64) {
		size_t rest = length - at;
		__mmask64 bytes = rest < 64 ? ((__mmask64)1 << rest) - 1 : ~(__mmask64)0;

		_mm512_mask_storeu_epi8((char *)to + at, bytes, _mm512_maskz_loadu_epi8(bytes, (const char *)from + at));
	}
	return to;
}

INVAR_IFUNC(void *, mylib_copy, (void *to, const void *from, size_t length), (to, from, length),
	    copy_anywhere, avx2, copy_avx2, avx512bw, copy_avx512);
