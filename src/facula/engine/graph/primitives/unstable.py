"""Sorting and selecting where equal elements may change places: which comes first is what PyTorch's results show.

These are textbook methods in the form that C++'s standard library has them (GNU's: `sort`, `partial_sort`,
`nth_element`: introsort, heaps, insertion) and Hoare's selection as in *Numerical Recipes*. `keys` are int64 numbers,
`places` go along with them; each function orders some of what lies between two positions, the second excluded.

Written in as little of Python as there is in `engine/compiler/emit/translated.py`, which makes machine code of this
very text: whole numbers, `while`, `if`, elements of the two arrays, calls between the functions.
"""

from __future__ import annotations

List = list[int]


def swap(keys: List, places: List, i: int, j: int) -> None:
    key = keys[i]
    place = places[i]
    keys[i] = keys[j]
    places[i] = places[j]
    keys[j] = key
    places[j] = place


# ---- insertion ------------------------------------------------------------------------------------------


def insertion_sort(keys: List, places: List, first: int, last: int) -> None:
    """Stable: what is at most 16 elements long has its equals in their order."""
    i = first + 1
    while i < last:
        key = keys[i]
        place = places[i]
        j = i
        while j > first:
            if key >= keys[j - 1]:
                break
            keys[j] = keys[j - 1]
            places[j] = places[j - 1]
            j = j - 1
        keys[j] = key
        places[j] = place
        i = i + 1


# ---- heaps ----------------------------------------------------------------------------------------------


def sift(keys: List, places: List, first: int, hole: int, size: int, key: int, place: int) -> None:
    """An element comes into a heap with a hole: the hole goes down to the end, the element up from there."""
    top = hole
    child = hole
    while child < (size - 1) >> 1:
        child = 2 * (child + 1)
        if keys[first + child] < keys[first + child - 1]:
            child = child - 1
        keys[first + hole] = keys[first + child]
        places[first + hole] = places[first + child]
        hole = child
    if size & 1 == 0:
        if child == (size - 2) >> 1:
            child = 2 * (child + 1)
            keys[first + hole] = keys[first + child - 1]
            places[first + hole] = places[first + child - 1]
            hole = child - 1
    while hole > top:
        parent = (hole - 1) >> 1
        if keys[first + parent] >= key:
            break
        keys[first + hole] = keys[first + parent]
        places[first + hole] = places[first + parent]
        hole = parent
    keys[first + hole] = key
    places[first + hole] = place


def pop_heap(keys: List, places: List, first: int, last: int, result: int) -> None:
    """The largest goes to `result`, what was there into the heap."""
    key = keys[result]
    place = places[result]
    keys[result] = keys[first]
    places[result] = places[first]
    sift(keys, places, first, 0, last - first, key, place)


def make_heap(keys: List, places: List, first: int, size: int) -> None:
    parent = (size - 2) >> 1
    while parent >= 0:
        sift(keys, places, first, parent, size, keys[first + parent], places[first + parent])
        parent = parent - 1


def take_in(keys: List, places: List, size: int, key: int, place: int) -> None:
    """A smaller element comes in the place of the largest of a heap."""
    sift(keys, places, 0, 0, size, key, place)


def sort_heap(keys: List, places: List, first: int, last: int) -> None:
    while last - first > 1:
        last = last - 1
        pop_heap(keys, places, first, last, last)


def heap_select(keys: List, places: List, first: int, middle: int, last: int) -> None:
    """The smallest elements come before `middle`, as a heap."""
    make_heap(keys, places, first, middle - first)
    i = middle
    while i < last:
        if keys[i] < keys[first]:
            pop_heap(keys, places, first, middle, i)
        i = i + 1


def partial_sort(keys: List, places: List, first: int, middle: int, last: int) -> None:
    """The smallest elements come before `middle`, in order."""
    heap_select(keys, places, first, middle, last)
    sort_heap(keys, places, first, middle)


# ---- quicksort ------------------------------------------------------------------------------------------


def median_to_first(keys: List, places: List, first: int, a: int, b: int, c: int) -> None:
    if keys[a] < keys[b]:
        if keys[b] < keys[c]:
            swap(keys, places, first, b)
        elif keys[a] < keys[c]:
            swap(keys, places, first, c)
        else:
            swap(keys, places, first, a)
    elif keys[a] < keys[c]:
        swap(keys, places, first, a)
    elif keys[b] < keys[c]:
        swap(keys, places, first, c)
    else:
        swap(keys, places, first, b)


def divide(keys: List, places: List, first: int, last: int) -> int:
    """What is less than a median of three comes before what is greater. Returns where the second part begins."""
    median_to_first(keys, places, first, first + 1, first + ((last - first) >> 1), last - 1)
    pivot = keys[first]
    i = first + 1
    j = last
    while True:
        while keys[i] < pivot:
            i = i + 1
        j = j - 1
        while pivot < keys[j]:
            j = j - 1
        if i >= j:
            return i
        swap(keys, places, i, j)
        i = i + 1


def twice_log(size: int) -> int:
    depth = 0
    while size > 1:
        size = size >> 1
        depth = depth + 2
    return depth


def sort_parts(keys: List, places: List, first: int, last: int, depth: int) -> None:
    """Into parts of at most 16 elements; where dividing goes on too long, by a heap."""
    while last - first > 16:
        if depth == 0:
            partial_sort(keys, places, first, last, last)
            return
        depth = depth - 1
        cut = divide(keys, places, first, last)
        sort_parts(keys, places, cut, last, depth)
        last = cut


def sort(keys: List, places: List, first: int, last: int) -> None:
    sort_parts(keys, places, first, last, twice_log(last - first))
    insertion_sort(keys, places, first, last)


def nth_element(keys: List, places: List, first: int, nth: int, last: int) -> None:
    """What is at `nth` is what a sort would leave there, nothing before it is greater, nothing after it less."""
    depth = twice_log(last - first)
    while last - first > 3:
        if depth == 0:
            heap_select(keys, places, first, nth + 1, last)
            swap(keys, places, first, nth)
            return
        depth = depth - 1
        cut = divide(keys, places, first, last)
        if cut <= nth:
            first = cut
        else:
            last = cut
    insertion_sort(keys, places, first, last)


# ---- what operations need -------------------------------------------------------------------------------


def different(keys: List, size: int) -> int:
    """1 if no two that follow each other are equal."""
    i = 1
    while i < size:
        if keys[i] == keys[i - 1]:
            return 0
        i = i + 1
    return 1


def top(keys: List, places: List, count: int, size: int) -> None:
    """The `count` smallest come first, in order."""
    if 64 * count <= size:
        partial_sort(keys, places, 0, count, size)
    else:
        nth_element(keys, places, 0, count - 1, size)
        sort(keys, places, 0, count - 1)


def some(keys: List, places: List, count: int, size: int) -> None:
    """The `count` smallest come first, in whatever order finding them leaves them."""
    if 64 * count <= size:
        partial_sort(keys, places, 0, count, size)
    else:
        nth_element(keys, places, 0, count - 1, size)


def nth(keys: List, places: List, wanted: int, size: int) -> None:
    """What is at `wanted` is what a sort would leave there."""
    left = 0
    right = size - 1
    while right > left + 1:
        swap(keys, places, (left + right) >> 1, left + 1)
        if keys[left + 1] > keys[right]:
            swap(keys, places, left + 1, right)
        if keys[left] > keys[right]:
            swap(keys, places, left, right)
        if keys[left + 1] > keys[left]:
            swap(keys, places, left + 1, left)
        i = left + 1
        j = right
        pivot = keys[left]
        while True:
            i = i + 1
            while pivot > keys[i]:
                i = i + 1
            j = j - 1
            while keys[j] > pivot:
                j = j - 1
            if j < i:
                break
            swap(keys, places, i, j)
        swap(keys, places, left, j)
        if j <= wanted:
            left = i
        if j >= wanted:
            right = j - 1
    if right == left + 1:
        if keys[left] > keys[right]:
            swap(keys, places, left, right)


# ---- all of it ------------------------------------------------------------------------------------------


def by_digit(keys: List, places: List, to_keys: List, to_places: List, counts: List,
             size: int, shift: int, bias: int) -> int:
    """A stable sort by eight bits of the keys. Returns 0, and moves nothing, if these are the same in all keys."""
    i = 0
    while i < 256:
        counts[i] = 0
        i = i + 1
    i = 0
    while i < size:
        digit = ((keys[i] >> shift) + bias) & 255
        counts[digit] = counts[digit] + 1
        i = i + 1
    if counts[((keys[0] >> shift) + bias) & 255] == size:
        return 0
    before = 0
    i = 0
    while i < 256:
        count = counts[i]
        counts[i] = before
        before = before + count
        i = i + 1
    i = 0
    while i < size:
        digit = ((keys[i] >> shift) + bias) & 255
        at = counts[digit]
        counts[digit] = at + 1
        to_keys[at] = keys[i]
        to_places[at] = places[i]
        i = i + 1
    return 1


def by_digits(keys: List, places: List, to_keys: List, to_places: List, counts: List, size: int, bits: int) -> None:
    """A stable sort of keys of so many bits, the sign among them."""
    turned = 0
    shift = 0
    while shift < bits:
        bias = 0
        if shift + 8 == bits:
            bias = 128  # the sign
        if turned == 0:
            turned = by_digit(keys, places, to_keys, to_places, counts, size, shift, bias)
        else:
            turned = turned - by_digit(to_keys, to_places, keys, places, counts, size, shift, bias)
        shift = shift + 8
    if turned == 1:
        i = 0
        while i < size:
            keys[i] = to_keys[i]
            places[i] = to_places[i]
            i = i + 1


def whole(keys: List, places: List, to_keys: List, to_places: List, counts: List, size: int, bits: int) -> None:
    """What `sort` gives. Where no two are equal there is one order, which digits give in a tenth of the time."""
    if size > 64:
        by_digits(keys, places, to_keys, to_places, counts, size, bits)
        if different(keys, size) == 1:
            return
        i = 0
        while i < size:
            to_keys[places[i]] = keys[i]
            i = i + 1
        i = 0
        while i < size:
            keys[i] = to_keys[i]
            places[i] = i
            i = i + 1
    sort(keys, places, 0, size)
