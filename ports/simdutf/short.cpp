// Short strings: `short FUNCTION LENGTH MILLISECONDS` tells the nanoseconds of a call for a string of so many bytes, the fastest of many
// batches. With `count CALLS` in place of the milliseconds it makes so many calls, for a tool that counts instructions.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "simdutf.h"

namespace {

// A mix of letters of one byte and of two.
std::string text_of(size_t length) {
  std::string text;
  while (text.size() + 2 <= length) {
    text += text.size() % 8 == 6 ? "\xc3\xa9" : "ab";
  }
  text.resize(length, 'c');
  return text;
}

std::string text;
char16_t output[4096];

size_t validate_utf8() { return simdutf::validate_utf8(text.data(), text.size()); }
size_t validate_ascii() { return simdutf::validate_ascii(text.data(), text.size()); }
size_t count_utf8() { return simdutf::count_utf8(text.data(), text.size()); }
size_t utf16_length() { return simdutf::utf16_length_from_utf8(text.data(), text.size()); }
size_t to_utf16() { return simdutf::convert_utf8_to_utf16le(text.data(), text.size(), output); }

const struct {
  const char *name;
  size_t (*call)();
} functions[] = {{"validate_utf8", validate_utf8},
                 {"validate_ascii", validate_ascii},
                 {"count_utf8", count_utf8},
                 {"utf16_length_from_utf8", utf16_length},
                 {"convert_utf8_to_utf16le", to_utf16}};

} // namespace

int main(int count, char **words) {
  if (count < 4) {
    return 1;
  }
  size_t length = strtoul(words[2], nullptr, 10);
  if (length > sizeof output / sizeof *output) {
    return 1;
  }
  text = text_of(length);
  volatile size_t kept;
  for (auto &function : functions) {
    if (strcmp(function.name, words[1]) != 0) {
      continue;
    }
    if (count == 5) {
      for (long calls = atol(words[4]); calls; calls--) {
        kept = function.call();
      }
      return 0;
    }
    using clock = std::chrono::steady_clock;
    const int calls = 10000;
    double best = 1e18;
    auto end = clock::now() + std::chrono::milliseconds(atol(words[3]));
    do {
      auto before = clock::now();
      for (int call = 0; call < calls; call++) {
        kept = function.call();
      }
      double each = std::chrono::duration<double, std::nano>(clock::now() - before).count() / calls;
      best = each < best ? each : best;
    } while (clock::now() < end);
    printf("%.3f\n", best);
    (void)kept;
    return 0;
  }
  return 1;
}
