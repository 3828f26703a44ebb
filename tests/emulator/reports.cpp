// Reports as text: one line each, with fields separated by tabs.
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>

#include "scheduler.h"

namespace emulator {
namespace {

std::string reports;

void add(const char* kind, Location location, const char* format, va_list values) {
  const std::string head = std::string("\n") + kind + "\t" + text_of(location) + "\t";
  if (reports.find(head) != std::string::npos) return;
  char who[60] = "", message[600];
  if (current) {
    snprintf(who, sizeof who, "block %u, thread %u: ", current_block(), current->index);
  }
  vsnprintf(message, sizeof message, format, values);
  reports += head + who + message;
}

}  // namespace

std::string text_of(Location location) {
  char text[300];
  if (location.file) {
    const char* slash = strrchr(location.file, '/');
    snprintf(text, sizeof text, "%s:%zu", slash ? slash + 1 : location.file, location.line);
  } else if (location.line) {
    snprintf(text, sizeof text, "{0x%zx}", location.line);  // module.py puts the line here
  } else {
    text[0] = 0;
  }
  return text;
}

void report(const char* kind, Location location, const char* format, ...) {
  va_list values;
  va_start(values, format);
  add(kind, location, format, values);
  va_end(values);
}

void stop(const char* kind, Location location, const char* format, ...) {
  va_list values;
  va_start(values, format);
  add(kind, location, format, values);
  va_end(values);
  abandon();
}

void forget_reports() { reports.clear(); }

const char* all_reports() { return reports.c_str(); }

}  // namespace emulator
