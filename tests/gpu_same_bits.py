"""On a GPU: whether float32 gradients of a NIMA are the same bits twice, as they come and with cuDNN told to be so.

    python tests/gpu_same_bits.py

Not collected by pytest. Prints a line for each of the two; raises AssertionError where the second differs.
"""

from __future__ import annotations

import time

import torch

from lpie.critic.nima import NIMA


def gradients(critic: NIMA, photo: torch.Tensor, times: int) -> tuple[int, float]:
    """How many different gradients come, and the milliseconds of one."""
    found: list[torch.Tensor] = []
    start = time.perf_counter()
    for _ in range(times):
        photo.grad = None
        critic.mean_score(photo).sum().backward()
        found.append(photo.grad.clone())
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    different = [each for place, each in enumerate(found) if not any(torch.equal(each, one) for one in found[:place])]
    return len(different), 1000 * seconds / times


if __name__ == "__main__":
    torch.manual_seed(0)
    critic = NIMA.from_pretrained("compact").cuda()
    photo = torch.rand(16, 3, 256, 256, device="cuda", requires_grad=True)
    gradients(critic, photo, 5)
    different, milliseconds = gradients(critic, photo, 30)
    print(f"as it comes: {different} different gradients in 30, {milliseconds:.2f} ms each")
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        gradients(critic, photo, 5)
        different, milliseconds = gradients(critic, photo, 30)
    print(f"deterministic cuDNN: {different} different gradients in 30, {milliseconds:.2f} ms each")
    assert different == 1
