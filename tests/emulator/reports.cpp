// Reports of what went wrong, as text: a line each, its fields separated by tabs.
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>

#include "scheduler.h"

namespace emulator {
namespace {

std::string reports;

void add(const char* kind, Place place, const char* format, va_list values) {
  const std::string head = std::string("\n") + kind + "\t" + text_of(place) + "\t";
  if (reports.find(head) != std::string::npos) return;
  char who[60] = "", message[600];
  if (current) {
    snprintf(who, sizeof who, "block %u, thread %u: ", current_block(), current->index);
  }
  vsnprintf(message, sizeof message, format, values);
  reports += head + who + message;
}

}  // namespace

std::string text_of(Place place) {
  char text[300];
  if (place.file) {
    const char* slash = strrchr(place.file, '/');
    snprintf(text, sizeof text, "%s:%zu", slash ? slash + 1 : place.file, place.line);
  } else if (place.line) {
    snprintf(text, sizeof text, "{0x%zx}", place.line);  // module.py puts the line here
  } else {
    text[0] = 0;
  }
  return text;
}

void report(const char* kind, Place place, const char* format, ...) {
  va_list values;
  va_start(values, format);
  add(kind, place, format, values);
  va_end(values);
}

void stop(const char* kind, Place place, const char* format, ...) {
  va_list values;
  va_start(values, format);
  add(kind, place, format, values);
  va_end(values);
  abandon();
}

void forget_reports() { reports.clear(); }

const char* all_reports() { return reports.c_str(); }

}  // namespace emulator
