"""Lays a filled page onto the blank one of its form.

Features of both pages are matched, a homography is fitted to the matches, and what it says is
doubted twice: a homography may be degenerate, and a page of another form may share a letterhead
with this one. So the print of the blank page has to be found on the filled one where the
homography puts it.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from gateway.forms.pages import Sheet

RATIO = 0.85  # distance of the nearest descriptor over that of the next: limit of a match
TOLERANCE = 4.0  # px of the shrunk page: an inlier's
LEAST_INLIERS = 25
MOST_ERROR = 2.5  # px: the inliers' mean
SCALES = (0.35, 2.0)  # least and most of page over blank page, both shrunk, by any corner
MOST_ASPECT = 1.6  # by which one direction may be stretched against the other
MOST_KEYSTONE = 1.6  # of opposite edges, one over the other
REACH = 3  # px by which print may be off
LEAST_AGREEMENT = 0.65  # of a page
LEAST_SEEN = 0.3  # share of the blank page's ink that must be within the page


@dataclass(frozen=True)
class Registration:
    """Where a blank page lies on a filled one."""

    matrix: np.ndarray  # (3, 3) float64: pixels of the shrunk blank page -> pixels of the page
    inliers: int
    error: float  # px of the shrunk blank page, the inliers' mean
    agreement: float  # see `agreement`, of all that can be seen of the page
    turned: int  # degrees that the page is turned clockwise: 0, 90, 180 or 270
    printed: np.ndarray  # (h, w) bool, of the shrunk blank page: its ink
    reached: np.ndarray  # likewise: within REACH of the page's ink
    seen: np.ndarray  # likewise: within the page
    added: np.ndarray  # likewise: ink that the page alone has


def register(page: Sheet, blank: Sheet) -> Registration | str:
    """Where `blank` lies on `page`, or why it does not."""
    found = _homography(page, blank)
    if isinstance(found, str):
        return found
    matrix, inliers, error = found
    if reason := distortion(matrix, blank.grey.shape, page.grey.shape):
        return reason
    size = blank.grey.shape[1], blank.grey.shape[0]
    laid = cv2.warpPerspective(
        page.grey, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=(255,)
    )
    seen = _seen(matrix, blank.grey.shape, page.grey.shape)
    ink = Sheet(page.size, laid).ink & seen
    around = np.ones((2 * REACH + 1,) * 2, np.uint8)
    reached = cv2.dilate(ink.astype(np.uint8), around).astype(bool)
    near = cv2.dilate(blank.ink.astype(np.uint8), around).astype(bool)
    to_page = np.diag([page.size[0] / page.grey.shape[1], page.size[1] / page.grey.shape[0], 1.0])
    registration = Registration(
        matrix=to_page @ matrix,
        inliers=inliers,
        error=error,
        agreement=agreement(blank.ink, reached, seen),
        turned=_turned(matrix),
        printed=blank.ink,
        reached=reached,
        seen=seen,
        added=ink & ~near,
    )
    share = (blank.ink & seen).sum() / blank.ink.sum()
    if share < LEAST_SEEN:
        return f"only {share:.0%} of the blank page's print would be on it, limit {LEAST_SEEN:.0%}"
    if registration.agreement < LEAST_AGREEMENT:
        return (
            f"its print agrees with the blank page's by {max(0.0, registration.agreement):.0%}, "
            f"limit {LEAST_AGREEMENT:.0%}"
        )
    return registration


def agreement(printed: np.ndarray, reached: np.ndarray, seen: np.ndarray) -> float:
    """How much of the blank page's print the page has, beyond chance: 1 is all, 0 is chance.

    Takes (h, w) bool: the print, what lies within REACH of the page's ink, what can be seen of the
    page. Chance is the share of the area that lies within REACH of ink, as in Cohen's kappa. 1 if
    there is no print.
    """
    expected = (printed & seen).sum()
    if not expected:
        return 1.0
    chance = min(0.9, (reached & seen).sum() / seen.sum())
    return float(((printed & reached & seen).sum() / expected - chance) / (1 - chance))


def distortion(matrix: np.ndarray, blank: tuple[int, ...], page: tuple[int, ...]) -> str:
    """Why a homography from a blank page (h, w) to a page (h, w) is none that paper can have.

    Empty if it can: not mirrored, convex, neither flattened nor much larger or smaller anywhere.
    """
    height, width = blank
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    depth = np.c_[corners, np.ones(4)] @ matrix[2]
    if (depth <= 0).any() and (depth >= 0).any():
        return "the page would be bent over its edge"
    moved = cv2.perspectiveTransform(corners[None], matrix)[0]
    edges = np.roll(moved, -1, axis=0) - moved
    turns = np.cross(edges, np.roll(edges, -1, axis=0))
    if (turns < 0).all():
        return "the page would be mirrored"
    if (turns <= 0).any():
        return "the page would be folded"
    scales = np.linalg.norm(edges, axis=1) / (width, height, width, height)
    # the long sides of both are LONG_SIDE, so that a page filling its scan has a scale near 1
    if scales.min() < SCALES[0] or scales.max() > SCALES[1]:
        return (
            f"the page would be {scales.min():.2f} to {scales.max():.2f} times as large as the "
            f"blank one, limit {SCALES[0]} to {SCALES[1]}"
        )
    across, down = np.sqrt(scales[0] * scales[2]), np.sqrt(scales[1] * scales[3])
    stretch = max(across / down, down / across)
    if stretch > MOST_ASPECT:
        return f"the page would be stretched {stretch:.2f} times, limit {MOST_ASPECT}"
    keystone = max(scales[0] / scales[2], scales[2] / scales[0])
    keystone = max(keystone, scales[1] / scales[3], scales[3] / scales[1])
    if keystone > MOST_KEYSTONE:
        return f"one edge would be {keystone:.2f} times the opposite one, limit {MOST_KEYSTONE}"
    return ""


def _homography(page: Sheet, blank: Sheet) -> tuple[np.ndarray, int, float] | str:
    """(3, 3) from the shrunk blank page to the shrunk page, inliers and their mean error in px."""
    (points, descriptors), (blank_points, blank_descriptors) = page.features, blank.features
    if len(points) < LEAST_INLIERS:
        return f"{len(points)} features in its print, limit {LEAST_INLIERS}"
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(blank_descriptors, descriptors, k=2)
    close = [
        best for best, *next_ in pairs if all(best.distance < RATIO * n.distance for n in next_)
    ]
    if len(close) < LEAST_INLIERS:
        return f"{len(close)} features match the blank page's, limit {LEAST_INLIERS}"
    source = blank_points[[match.queryIdx for match in close]]
    target = points[[match.trainIdx for match in close]]
    matrix, mask = cv2.findHomography(source, target, cv2.USAC_MAGSAC, TOLERANCE, maxIters=5000)
    if matrix is None or not np.isfinite(matrix).all():
        return "its features lie in no plane with the blank page's"
    inside = mask.ravel().astype(bool)
    # several features of one spot are one witness
    inliers = len(np.unique(np.round(source[inside] / 4), axis=0))
    if inliers < LEAST_INLIERS:
        return f"{inliers} features lie as on the blank page, limit {LEAST_INLIERS}"
    moved = cv2.perspectiveTransform(source[inside][None], matrix)[0]
    error = float(np.linalg.norm(moved - target[inside], axis=1).mean())
    if error > MOST_ERROR:
        return f"its features are {error:.1f} px off the blank page's, limit {MOST_ERROR}"
    return matrix, inliers, error


def _seen(matrix: np.ndarray, blank: tuple[int, ...], page: tuple[int, ...]) -> np.ndarray:
    """(h, w) bool of the blank page: what falls within the page."""
    whole = np.full(page, 1, np.uint8)
    size = blank[1], blank[0]
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(whole, matrix, size, flags=flags).astype(bool)


def _turned(matrix: np.ndarray) -> int:
    """The quarter turns, in degrees clockwise, of what a homography does to the x axis."""
    across = matrix[:2, 0] / matrix[2, 2]
    return int(round(np.degrees(np.arctan2(across[1], across[0])) / 90) * 90) % 360
