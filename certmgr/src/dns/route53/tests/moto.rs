//! Against moto. It is too lenient about DELETE and CREATE: what is exact is shown by the double.
