"""Addresses, checksums and sizes of the files of each dataset."""

from __future__ import annotations

from dataclasses import dataclass

VISDA = "http://csr.bu.edu/ftp/visda/2019/multi-source"
DOMAINNET_TERMS = "for research alone, under the fair-use notice of ai.bu.edu/M3SDA"


@dataclass(frozen=True)
class Source:
    """A file to get, and what it becomes below DATASET.ROOT.

    Attributes:
        file: its name below DATASET.ROOT.
        gives: the folder, or plain file, below DATASET.ROOT that it becomes.
        holds: names right in that folder by which it is found inside the archive; () for a plain file.
        get: how a person gets it, in one line.
        url: where it may be downloaded from without a person; "" where a licence or a link needs one.
        checksum: "md5:..." or "sha256:..." of the file; "" where none is published.
        size: of the file in bytes; 0 where it is not known.
        unpacked_size: most bytes that it may unpack to.
        domain: the one domain that needs it; "" where all do.
    """

    file: str
    gives: str
    holds: tuple[str, ...]
    get: str
    url: str = ""
    checksum: str = ""
    size: int = 0
    unpacked_size: int = 4 * 10**9
    domain: str = ""


DOMAINNET_IMAGES = {
    "clipart": (
        "groundtruth/clipart.zip",
        "f8f248a3e8bbc9868c523ae24e6601b4c2ad102afc60c0efeb4f3255df22354d",
        1_270_909_081,
    ),
    "painting": (
        "groundtruth/painting.zip",
        "fa47e6d405503ea0286cabd767f176bd30e988b63ddd7b9db16cf030c9770015",
        3_679_366_174,
    ),
    "real": ("real.zip", "d7fe010b430c5b510f85d657d38c4a1924822695fabea4fef57bd00dba251d63", 6_062_039_589),
    "sketch": ("sketch.zip", "23a7dbae7016b343e934399beaa8a68728fb5e570ebe2c71df9b75cf91c499fc", 2_633_992_926),
}
"""Address below VISDA, sha256 and size of the archive of each domain."""

DOMAINNET_LISTS = {
    "clipart_train.txt": ("affdadf5f95a7583e6b98030a3d35007e2613ee4dd942393c5a705ec2b429312", 1_443_819),
    "clipart_test.txt": ("62c8e36aaba1c41ad9e249099739707220a44c08f167b37ef420f34a31628a6b", 628_917),
    "painting_train.txt": ("f1da38d50a702fddf1329f85bc607d7a2abcae7e6aec75e1fd49cc1bd340d47b", 2_241_901),
    "painting_test.txt": ("11472b13b5188e09f06918b12eebb660588c97a20e43e268d9b02e3e37eb8f97", 971_888),
    "real_train.txt": ("19d483256d24aef19e581b65eda8333fd918aef3eb733fe499ff384120e3a289", 4_440_944),
    "real_test.txt": ("2b3f75bcde309aeb5931292084b2162e936b5f189e3bb1ad716f0f74c460864c", 1_911_327),
    "sketch_train.txt": ("72f4bc6afa5702a1ccba800d0053c1427de87439dfaf246dbc9a2e71abfec54f", 1_960_222),
    "sketch_test.txt": ("3fb48fca18c507c4321f007c3f62b308ec232ff6928cbfe2af64e76ec366e840", 850_581),
}
"""Sha256 and size of each official list."""


def _domainnet_images(domain: str) -> Source:
    address, sha256, size = DOMAINNET_IMAGES[domain]
    url = f"{VISDA}/{address}"
    return Source(
        file=f"domainnet/{domain}.zip",
        gives=f"domainnet/{domain}",
        holds=("airplane", "zebra"),
        get=f"{domain}.zip from {url} ({DOMAINNET_TERMS})",
        url=url,
        checksum=f"sha256:{sha256}",
        size=size,
        unpacked_size=2 * size,
        domain=domain,
    )


def _domainnet_list(name: str) -> Source:
    sha256, size = DOMAINNET_LISTS[name]
    url, file = f"{VISDA}/domainnet/txt/{name}", f"domainnet/{name}"
    return Source(
        file=file,
        gives=file,
        holds=(),
        get=f"{name} from {url}",
        url=url,
        checksum=f"sha256:{sha256}",
        size=size,
        domain=name.partition("_")[0],
    )


SOURCES: dict[str, tuple[Source, ...]] = {
    "cub": (
        Source(
            file="CUB_200_2011.tgz",
            gives="CUB_200_2011",
            holds=("images.txt", "images"),
            get="CUB_200_2011.tgz from data.caltech.edu, record 65de6-vp158",
            url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
            checksum="md5:97eceeb196236b17998738112f37df78",
            size=1_150_585_339,
        ),
        Source(
            file="CUB-200-Painting.zip",
            gives="CUB-200-Painting",
            holds=("001.Black_footed_Albatross",),
            get="the archive of the PAN authors, https://drive.google.com/file/d/1G327KsD93eyGTjMmByuVy9sk4tlEOyK3",
            domain="painting",
        ),
    ),
    "cifar100": (
        Source(
            file="cifar-100-python.tar.gz",
            gives="cifar-100-python",
            holds=("train", "test", "meta"),
            get="cifar-100-python.tar.gz from www.cs.toronto.edu/~kriz/cifar.html",
            url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            checksum="md5:eb9058c3a382ffc7106e4002c42a8d85",
            size=169_001_437,
        ),
    ),
    "domainnet_mini": (*map(_domainnet_images, DOMAINNET_IMAGES), *map(_domainnet_list, DOMAINNET_LISTS)),
    "pacs": (
        Source(
            file="PACS.zip",
            gives="PACS",
            holds=("art_painting", "cartoon", "photo", "sketch"),
            get="PACS.zip as DomainBed has it, https://drive.google.com/file/d/1JFr8f805nMUelQWWmfnJR3y4_SYoN5Pd",
        ),
    ),
    "office_home": (
        Source(
            file="office_home.zip",
            gives="office_home",
            holds=("Art", "Clipart", "Product", "Real World"),
            get="OfficeHome as DomainBed has it, https://drive.google.com/file/d/1uY0pj7oFsjMxRwaD3Sxy0jgel0fsYXLC "
            "(for research alone, terms at hemanthdv.org/officeHomeDataset.html)",
        ),
    ),
    "vlcs": (
        Source(
            file="VLCS.tar.gz",
            gives="VLCS",
            holds=("Caltech101", "LabelMe", "SUN09", "VOC2007"),
            get="VLCS.tar.gz as DomainBed has it, https://drive.google.com/file/d/1skwblH1_okBwxWxmRsp9_qi15hyPpxg8",
            unpacked_size=10**10,
        ),
    ),
}
"""Files of each dataset, by the name of its config; datasets that are not here need none."""


def how_to_get(origin: str) -> str:
    """The advice in an error about an incomplete copy; "" for a dataset that no entry describes."""
    if origin not in SOURCES:
        return ""
    return f"`python tools/prepare_data.py {origin} --root DATA` says what is missing and where to get it"
