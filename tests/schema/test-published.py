#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Msvm_ classes are those that are published, no more and no less.

test-published.py DUMP-SCHEMA LIST: compares what the program prints of the
compiled schema with the list, whose head explains the form.  Prints each
difference; then shows that a difference would have been noticed, by comparing
with lists from which one line was taken, and to which one was added.
"""
import re
import subprocess
import sys

HEAD = re.compile(r'(class|association) (\w+) : (\w+)$')


def logical_lines(text):
    """The lines, continued ones joined; without comments and empty ones."""
    lines = []
    for line in text.splitlines():
        if line.startswith(' ') and lines:
            joint = '' if lines[-1][-1] in '(|' else ' '
            lines[-1] += joint + line.strip()
        elif line and not line.startswith('#'):
            lines.append(line)
    return lines


def parse(text):
    """{class: (head, [own lines], [inherited lines])}"""
    tables, classes, at = {}, {}, None
    for line in logical_lines(text):
        if line.startswith('table '):
            _, name, values = line.split(' ', 2)
            tables[name] = values
            continue
        line = re.sub(r'\{@([^}]+)\}', lambda m: tables[m.group(1)], line)
        head = HEAD.match(line)
        if head:
            if head.group(2) in classes:
                raise ValueError(f'{head.group(2)} is listed twice')
            at = classes[head.group(2)] = (line, [], [])
        elif line.startswith('inherited '):
            at[2].append(line)
        elif line.startswith(('property ', 'method ')):
            at[1].append(line)
        else:
            raise ValueError(f'cannot read: {line}')
    return classes


def methods(lines):
    return [line for line in lines if line.startswith('method ')]


def compare_class(name, listed, compiled):
    if listed[0] != compiled[0]:
        yield f'{name}: listed as "{listed[0]}", compiled as "{compiled[0]}"'
    for line in listed[1]:
        if line not in compiled[1]:
            yield f'{name}: only listed: {line}'
    for line in compiled[1]:
        if line not in listed[1]:
            yield f'{name}: only compiled: {line}'
    for line in listed[2]:
        if line not in compiled[2]:
            yield f'{name}: only listed: {line}'
    if (sorted(methods(listed[1])) == sorted(methods(compiled[1])) and
            methods(listed[1]) != methods(compiled[1])):
        yield f'{name}: the methods are in another order'


def compare(listed, compiled):
    for name in sorted(listed.keys() - compiled.keys()):
        yield f'{name}: only listed'
    for name in sorted(compiled.keys() - listed.keys()):
        yield f'{name}: only compiled'
    for name in sorted(listed.keys() & compiled.keys()):
        yield from compare_class(name, listed[name], compiled[name])


def check_sharpness(text, compiled):
    """Each line of the list matters."""
    lines = logical_lines(text)
    for i, line in enumerate(lines):
        if line.startswith(('table ', 'inherited ')) or HEAD.match(line):
            continue
        without = '\n'.join(lines[:i] + lines[i + 1:])
        changed = '\n'.join(lines[:i] + [line.replace(' ', '  ', 1)] +
                            lines[i + 1:])
        for other in (without, changed):
            if not list(compare(parse(other), compiled)):
                yield f'a change went unnoticed: {line}'


def main():
    program, path = sys.argv[1:]
    dump = subprocess.run([program, 'Msvm_'], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    with open(path, encoding='utf-8') as f:
        text = f.read()
    listed, compiled = parse(text), parse(dump)
    found = list(compare(listed, compiled))
    found += [] if found else list(check_sharpness(text, compiled))
    for line in found:
        print(line)
    print(f'{len(listed)} classes listed, {len(compiled)} compiled, '
          f'{len(found)} differences')
    return 1 if found or not listed else 0


if __name__ == '__main__':
    sys.exit(main())
