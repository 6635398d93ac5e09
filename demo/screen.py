# SPDX-License-Identifier: Apache-2.0
"""What a person sees of the demo: numbered steps, sizes, maps of disks."""
import os
import sys
import time

COLOURS = {'bold': '1', 'dim': '2', 'red': '31', 'green': '32',
           'yellow': '33', 'cyan': '36'}


class Screen:
    """Prints to standard output; colours only where a person sees them."""

    def __init__(self):
        self.start = time.monotonic()
        self.steps = 0
        self.coloured = sys.stdout.isatty() and 'NO_COLOR' not in os.environ

    def colour(self, name, text):
        if not self.coloured:
            return text
        return f'\033[{COLOURS[name]}m{text}\033[0m'

    def seconds(self):
        return time.monotonic() - self.start

    def line(self, text=''):
        print(text, flush=True)

    def title(self, text):
        self.line('\n' + self.colour('bold', text))

    def step(self, text):
        """The next numbered step of the story."""
        self.steps += 1
        number = self.colour('cyan', f'{self.steps:2}')
        when = self.colour('dim', f'{self.seconds():5.1f} s')
        self.line(f'{when}  {number}  {text}')

    def detail(self, text):
        self.line(' ' * 13 + self.colour('dim', text))

    def death(self, text):
        self.step(self.colour('yellow', text))

    def good(self, text):
        self.line(self.colour('green', text))

    def bad(self, text):
        self.line(self.colour('red', text))


def size(number):
    """A size for a person: 4 KiB, 12.3 MiB."""
    value, unit = float(number), 'bytes'
    for unit in ('bytes', 'KiB', 'MiB', 'GiB', 'TiB'):
        if value < 1024 or unit == 'TiB':
            break
        value /= 1024
    text = f'{value:.1f}'.removesuffix('.0')
    return f'{text} {unit}'


def table(rows, indent='  '):
    """Rows of strings as lines with aligned columns; the first is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [indent + '  '.join(cell.ljust(width) for cell, width
                               in zip(row, widths)).rstrip() for row in rows]
