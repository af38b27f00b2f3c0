"""Devices by number or name, and the format that two of them share."""

from __future__ import annotations

import pytest
from kit.devices import BLOCK, DEVICES, FORM, RATE, FakeBackend

from audiotool.errors import DeviceError, PlanError
from audiotool.live.backend import agree, choose


@pytest.mark.parametrize(
    ("asked", "output", "number"),
    [(None, False, 1), (None, True, 3), ("built", False, 0), ("usb headset mono", False, 1), ("3", True, 3)],
)
def test_devices_by_number_or_name(asked: str | None, output: bool, number: int) -> None:
    assert choose(FakeBackend(), asked, output).number == number


@pytest.mark.parametrize(
    ("asked", "output", "message"),
    [
        ("usb", False, "fits several devices"),
        ("7", False, "there is no input device '7'; there are: 0"),
        ("speakers", False, "there is no input device"),
        ("3", False, "device 3 has no input"),
    ],
)
def test_devices_that_are_not_meant(asked: str, output: bool, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        choose(FakeBackend(), asked, output)


def test_no_device_and_no_rate() -> None:
    with pytest.raises(DeviceError, match="there is no input device"):
        choose(FakeBackend(devices=DEVICES[3:]), None)
    with pytest.raises(DeviceError, match=r"at 44100 Hz \(Invalid sample rate\)"):
        agree(FakeBackend(), DEVICES[1], DEVICES[3], (44100,), lambda rate: BLOCK)
    assert agree(FakeBackend(), DEVICES[1], DEVICES[3], (44100, RATE), lambda rate: BLOCK) == FORM
