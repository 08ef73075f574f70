"""Event names of the Segment e-commerce spec v2, the Segment e-mail spec and GA4, and what Tradewind calls them."""

from __future__ import annotations

from tradewind.schema import Kind

SEGMENT: dict[str, Kind] = {
    "Products Searched": Kind.SEARCH,
    "Product List Viewed": Kind.VIEW,
    "Product Clicked": Kind.VIEW,
    "Product Viewed": Kind.VIEW,
    "Product Added": Kind.CART,
    "Product Removed": Kind.UNCART,
    "Checkout Started": Kind.CHECKOUT,
    "Order Completed": Kind.PURCHASE,
    "Order Refunded": Kind.REFUND,
    "Order Cancelled": Kind.REFUND,
    "Coupon Entered": Kind.COUPON,
    "Coupon Applied": Kind.REDEEM,
    "Product Added to Wishlist": Kind.WISH,
    "Wishlist Product Added to Cart": Kind.CART,
    "Product Reviewed": Kind.REVIEW,
    "Email Delivered": Kind.SENT,
    "Email Opened": Kind.OPEN,
    "Email Link Clicked": Kind.CLICK,
    "Email Bounced": Kind.BOUNCE,
    "Email Marked as Spam": Kind.COMPLAINT,
    "Unsubscribed": Kind.UNSUBSCRIBE,
}
GA4: dict[str, Kind] = {
    "view_item": Kind.VIEW,
    "page_view": Kind.VIEW,
    "search": Kind.SEARCH,
    "view_search_results": Kind.SEARCH,
    "add_to_wishlist": Kind.WISH,
    "add_to_cart": Kind.CART,
    "remove_from_cart": Kind.UNCART,
    "begin_checkout": Kind.CHECKOUT,
    "purchase": Kind.PURCHASE,
    "in_app_purchase": Kind.PURCHASE,
    "refund": Kind.REFUND,
}
# Names of the same specs that say nothing about a customer's taste or money: left out, counted and named in the report.
UNUSED: frozenset[str] = frozenset(
    {
        "Product List Filtered",
        "Promotion Viewed",
        "Promotion Clicked",
        "Cart Viewed",
        "Checkout Step Viewed",
        "Checkout Step Completed",
        "Payment Info Entered",
        "Order Updated",
        "Coupon Denied",
        "Coupon Removed",
        "Product Removed from Wishlist",
        "Product Shared",
        "Cart Shared",
        "view_item_list",
        "select_item",
        "view_cart",
        "view_promotion",
        "select_promotion",
        "add_payment_info",
        "add_shipping_info",
        "session_start",
        "first_visit",
        "user_engagement",
        "scroll",
        "click",
    }
)
KINDS: dict[str, str] = {
    **{name.lower(): str(kind) for name, kind in {**GA4, **SEGMENT}.items()},
    **{str(kind): str(kind) for kind in Kind},
}


def kind_sql(column: str) -> str:
    """SQL that turns a column of event names into kinds; NULL for a name that is not known. Our own names take no look-up."""
    pairs = ", ".join("'" + name.replace("'", "''") + f"': '{kind}'" for name, kind in KINDS.items())
    ours = ", ".join(f"'{kind}'" for kind in Kind)
    return f"(CASE WHEN {column} IN ({ours}) THEN {column} ELSE MAP {{{pairs}}}[lower(trim({column}))] END)"


def unused_sql(column: str) -> str:
    """SQL that tells whether a column of event names holds one of ``UNUSED``."""
    return f"{column} IN (" + ", ".join(f"'{name}'" for name in sorted(UNUSED)) + ")"
