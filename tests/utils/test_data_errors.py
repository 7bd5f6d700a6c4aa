"""What a dataset raises ends no pass over a DataLoader: the batches after it come."""

import pytest

import facula

BAD = (2, 5)


def kinds(library):
    data = library.utils.data

    class Mapped(data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, key):
            if key in BAD:
                raise ValueError(f"bad {key}")
            return float(key)

    class Many(Mapped):
        def __getitems__(self, keys):
            return [self[key] for key in keys]

    class Generated(data.IterableDataset):
        def __iter__(self):
            for key in range(8):
                if key in BAD:
                    raise ValueError(f"bad {key}")
                yield float(key)

    class Stepping(data.IterableDataset):
        def __iter__(self):
            self.key = -1
            return self

        def __next__(self):
            self.key += 1
            if self.key in BAD:
                raise ValueError(f"bad {self.key}")
            if self.key > 7:
                raise StopIteration
            return float(self.key)

    def collate(batch):
        if 4.0 in batch:
            raise KeyError("collate")
        return batch

    return {"mapped": (Mapped(), {}), "many": (Many(), {}), "generated": (Generated(), {}),
            "stepping": (Stepping(), {}), "collated": ([float(k) for k in range(8)], {"collate_fn": collate})}


BATCHES = [{}, {"batch_size": 2}, {"batch_size": None}, {"batch_size": 3, "drop_last": True}]
# Without batches there is nothing to collate.
TRAILS = [pytest.param(kind, batch, id=f"{kind}-{batch}")
          for kind in ("mapped", "many", "generated", "stepping", "collated") for batch in BATCHES
          if kind != "collated" or batch.get("batch_size", 1)]


@pytest.mark.parametrize("kind, batch", TRAILS)
def test_the_next_batch_comes_after_an_exception(oracle, kind, batch):
    def trail(library):
        dataset, options = kinds(library)[kind]
        found, batches = [], iter(library.utils.data.DataLoader(dataset, **batch, **options))
        for _ in range(20):
            try:
                found.append(str(next(batches)))
            except StopIteration:
                return [*found, "the end"]
            except (ValueError, KeyError) as error:
                found.append(f"{type(error).__name__} {error}")
        return found

    assert trail(facula) == oracle(trail, kind, batch)
