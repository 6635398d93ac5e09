# SPDX-License-Identifier: Apache-2.0
"""What really changed between two moments, against what refpoint reports.

The truth comes from outside of refpoint: the recorder between the guest and
its NBD client (writelog) and copies of the images.  A moment is the making of
one point.  `before` is the recorder's position when `create` was called; then
the point was made, with the guest running or stopped; `after` is the position
when no request was in flight any more, and the copy was taken then.  With the
guest stopped all the while, `before` and `after` are the same.

For an earlier moment A and a later moment B the answer to `changes` is held
to this, for each disk:

1. It must have every block that differs between the two copies, but for those
   written between B.before and B.after, which may belong to either side of B.
   (What differs from A's copy was written after A.after, so after A's point.)
2. It may have only blocks that a request logged in [A.before, B.after) wrote,
   zeroed or discarded.  (The recorder logs a request after its completion, so
   one that was in flight when a point was made is logged by `after`, and one
   logged before `before` was complete when `create` was called.)
3. Its extents are in order, do not overlap, lie inside the disk, on the
   blocks' bounds,
   and add up to `changed_bytes`.
4. It is `exact`: no power was cut.
"""
import collections

from . import blocks

# One disk at one moment: the recorder's positions, and the copy's path.
At = collections.namedtuple('At', 'before after copy')


def malformed(answer, size):
    """What is wrong with the form of one disk's answer, or None."""
    end, total = 0, 0
    if answer['granularity_bytes'] != blocks.BLOCK:
        return f'granularity {answer["granularity_bytes"]}'
    for e in answer['extents']:
        start, length = e['offset'], e['length']
        if length <= 0 or start < end or start + length > size:
            return f'extent [{start}, {start + length}) after {end}'
        if start % blocks.BLOCK or (start + length) % blocks.BLOCK and \
                start + length != size:
            return f'extent [{start}, {start + length}) splits a block'
        end = start + length
        total += length
    if total != answer['changed_bytes']:
        return f'extents of {total} bytes, {answer["changed_bytes"]} promised'
    return None


def _addresses(name, what, wrong):
    return [f'{name}: {what}: block at byte {a} ({a:#x})'
            for a in wrong.addresses()] + (
                [f'{name}: ... {len(wrong)} such blocks in all']
                if len(wrong) > 8 else [])


def compare(name, size, log, a, b, answer):
    """Problems of one disk's answer between moments a and b, as sentences.

    Returns them and the numbers of blocks that had to be, were, and might
    have been reported.
    """
    reported = blocks.from_extents(size, answer['extents'])
    unsure = blocks.from_entries(size, log.between(b.before, b.after))
    must = blocks.differing(a.copy, b.copy) - unsure
    may = blocks.from_entries(size, log.between(a.before, b.after))
    problems = _addresses(name, 'differs, but is not reported',
                          must - reported)
    problems += _addresses(name, 'reported, but nothing was written there',
                           reported - may)
    # The judge itself must not contradict itself.
    problems += _addresses(name, 'differs, but the recorder saw no write',
                           must - may)
    if answer['accuracy'] != 'exact':
        problems.append(f'{name}: {answer["accuracy"]} instead of exact: '
                        f'{answer["reason"]}')
    bad = malformed(answer, size)
    if bad:
        problems.append(f'{name}: {bad}')
    return problems, (len(must), len(reported), len(may))
